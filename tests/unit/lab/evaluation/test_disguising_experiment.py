"""The experiment on disguises, small, on scikit-learn's digits."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import PrivEdgeError
from privedge_lab.datasets import from_arrays
from privedge_lab.evaluation import disguising
from privedge_lab.evaluation.disguising_bench import Plan
from privedge_lab.results.rows.disguising import DisguisingRow
from privedge_lab.results.store import Results


@pytest.fixture(scope="module")
def digits():
    """Every fourth of them, enlarged to 16 x 16."""
    data = load_digits()
    images = np.rint(data.images * (255 / 16)).astype(np.uint8)[::4]
    return from_arrays(images.repeat(2, 1).repeat(2, 2), data.target[::4])


PLAN = Plan(
    epochs=1,
    shifts=0,
    images=20,
    pairs=(1, 30),
    disguises=("rmt", "rmt-noise", "aes"),
    sizes=(100, 300),
)


def results(folder, resume=False):
    return Results(disguising.EXPERIMENT, {}, folder / "rows.json", resume=resume)


def test_every_disguise_gets_its_rows_and_pictures_and_a_second_run_adds_none(digits, tmp_path):
    told = []

    def progress(doing, done, total):
        told.append((done, total, doing))

    found = results(tmp_path)
    list(disguising.measure(PLAN, digits, found, tmp_path, progress))
    assert told[-1] == (30, 30, "done") and len(found.rows) == 30

    def row(**configuration):
        return found.row(DisguisingRow, configuration)

    assert row(disguise="rmt", attack="full-rank", precision="float64").error < 1e-6
    assert row(disguise="rmt-noise", attack="full-rank", precision="float64") is None
    for disguise, attack in (("rmt", "regression"), ("aes", "codebook")):
        one, many = (row(disguise=disguise, attack=attack, pairs=pairs) for pairs in (1, 30))
        assert many.psnr_db > one.psnr_db and many.images == 20
    aes = row(disguise="aes", attack="codebook", pairs=30)
    assert 0 < aes.hit_rate_foreground < aes.hit_rate < 1
    adaptive = row(disguise="rmt", attack="adaptive")
    assert adaptive.accuracy > 2 * adaptive.majority
    assert row(disguise="rmt", attack="adaptive-network").accuracy > 2 * adaptive.majority
    noisy, clean = (
        row(disguise="rmt-noise", attack=attack, pairs=30) for attack in ("regression", "restored")
    )
    assert clean.psnr_db > noisy.psnr_db and clean.ssim > noisy.ssim
    few, more = (row(disguise="rmt", attack="size", training_images=size) for size in (100, 300))
    assert (
        few.plain_accuracy == row(disguise="aes", attack="size", training_images=100).plain_accuracy
    )
    assert more.task_accuracy > 0.2 and more.loss_points == pytest.approx(
        100 * (more.plain_accuracy - more.task_accuracy)
    )
    for name in PLAN.disguises:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.size[0] > picture.size[1] > 0

    again = results(tmp_path, resume=True)
    list(disguising.measure(PLAN, digits, again, tmp_path, lambda *now: None))
    assert again.rows == found.rows


def test_a_size_that_the_set_does_not_have_is_refused(digits, tmp_path):
    plan = Plan(disguises=("rmt",), sizes=(1000,))
    with pytest.raises(PrivEdgeError, match="sizes: the training part has 3"):
        list(disguising.measure(plan, digits, results(tmp_path), tmp_path, lambda *now: None))


def call(*arguments):
    result = CliRunner().invoke(build(), ["attack", "disguising", *map(str, arguments)])
    if isinstance(result.exception, PrivEdgeError):
        raise result.exception
    return result


def test_the_command_prints_its_rows_and_will_not_replace_them(digits, tmp_path):
    pixels = (digits.images[:, 0] * 255).round().numpy().astype(np.uint8)
    np.savez(tmp_path / "digits.npz", images=pixels, labels=digits.labels.numpy())
    options = ("--data", tmp_path / "digits.npz", "--out", tmp_path / "out", "--epochs", 1)
    options += ("--disguises", "permutation", "--images", 5, "--json")
    document = json.loads(call(*options).stdout)
    assert document["settings"]["disguises"] == ["permutation"]
    assert all(row["seed"] == 0 for row in document["rows"])
    assert (tmp_path / "out" / "permutation.png").exists()
    with pytest.raises(PrivEdgeError, match="--resume"):
        call(*options)
    assert json.loads(call(*options, "--resume").stdout) == document


def test_an_unknown_disguise_is_named(tmp_path):
    with pytest.raises(PrivEdgeError, match="rot13: no such disguise; there are rmt"):
        call("--data", tmp_path / "no.npz", "--out", tmp_path, "--disguises", "rot13")
