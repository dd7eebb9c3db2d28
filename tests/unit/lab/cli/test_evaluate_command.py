"""`privedge evaluate identify`, as a user runs it, on scikit-learn's digits."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import ConfigError, ImageError, PrivEdgeError
from privedge.ran import rivals
from privedge.ran.features import extract
from privedge.ran.presets import preset
from privedge.ran.rivals import Rivals
from privedge_lab.demo import digits
from tests import drawn_faces


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:20] for digit in range(4)])
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images, labels=np.repeat(np.arange(4), 20))
    return path


def evaluate(file, out, *more: object) -> Result:
    fixed = ("--data", file, "--out", out, "--components", 8, "--baselines", "knn")
    arguments = ["evaluate", "identify", *map(str, (*fixed, *more))]
    return CliRunner().invoke(build(), arguments)


def test_json_has_the_figures_and_the_file_has_the_rows(file, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/privedge", "evaluate", "two words"])
    done = evaluate(file, tmp_path / "out", "--owners", 3, "--seed", "1,2", "--json")
    found = json.loads(done.stdout)
    for name in ("macro_precision", "macro_recall", "accuracy", "top3", "seconds"):
        assert found[name] > 0
    assert found["auroc_known"] is None and found["bytes_per_query"] is None
    assert found["agreement"]["fixed_plain"] == 1
    assert found["baselines"]["knn"]["macro_recall"] > 0.5
    assert found["seeds"] == [1, 2] and found["settings"]["owners"] == 3
    stored = json.loads((tmp_path / "out" / "identify.json").read_text())
    rows = stored["rows"]
    assert stored["command"] == found["command"]
    assert stored["command"] == "privedge evaluate 'two words'"
    assert [row["seed"] for row in rows] == [1, 2]
    assert np.mean([row["accuracy"] for row in rows]) == pytest.approx(found["accuracy"])


def test_text_says_how_well_and_where_the_rows_are(file, tmp_path):
    out = tmp_path / "out"
    said = evaluate(file, out).stdout
    assert "macro recall" in said and "baseline knn" in said and str(out / "identify.json") in said
    assert isinstance(evaluate(file, out).exception, ConfigError)
    assert evaluate(file, out, "--resume").exit_code == 0


def test_a_folder_of_the_same_images_gives_the_same_figures(file, tmp_path):
    arrays, folder = np.load(file), tmp_path / "digits"
    for number, (image, label) in enumerate(zip(arrays["images"], arrays["labels"], strict=True)):
        (folder / f"digit-{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"digit-{label}" / f"{number:03}.png")
    one = json.loads(evaluate(file, tmp_path / "npz", "--json").stdout)
    other = json.loads(evaluate(folder, tmp_path / "folder", "--json").stdout)
    assert other["settings"]["data"] == "digits" and one["settings"]["data"] == "digits.npz"
    for name in ("macro_recall", "macro_precision", "auroc_known", "baselines", "asked"):
        assert one[name] == other[name]
    row = json.loads((tmp_path / "folder" / "identify.json").read_text())["rows"][0]
    assert [owner["owner"] for owner in row["per_owner"]] == [f"digit-{n}" for n in range(4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "x"), "seed"),
        (("--part", "train"), "part"),
        (("--test-where", "page"), "test-where"),
        (("--owners", 9), "owners"),
        (("--preset", "resnet"), "preset"),
    ],
)
def test_a_mistake_ends_in_one_line(file, tmp_path, options, message):
    error = evaluate(file, tmp_path / "out", *options).exception
    assert isinstance(error, PrivEdgeError) and message in str(error)


def test_without_a_folder_figures_are_shown_and_nothing_is_kept(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = ("evaluate", "identify", "--data", file, "--photos", 4, "--baselines", "none")
    done = CliRunner().invoke(build(), [*map(str, few), "--json"])
    found = json.loads(done.stdout)
    assert found["trained_on"] == 16 and found["asked"] == 64 and found["file"] is None
    assert list(tmp_path.iterdir()) == []
    refused = CliRunner().invoke(build(), [*map(str, few), "--keep-models"])
    assert isinstance(refused.exception, ConfigError) and "--out" in str(refused.exception)


def test_faces_are_cut_out_before_they_are_told_apart(tmp_path):
    encoder = drawn_faces.encoder(tmp_path / "e.onnx")
    detector = drawn_faces.detector(tmp_path / "d.onnx")
    rng = np.random.default_rng(0)
    people = [
        np.asarray(drawn_faces.person(n // 8, tuple(rng.integers(9, 30, 2) * 8.0), seed=n))
        for n in range(24)
    ]
    people[3] = np.asarray(drawn_faces.discs())  # nobody
    np.savez(tmp_path / "people.npz", images=np.stack(people), labels=np.arange(24) // 8)
    options = ("--preset", "subspace-encoder", "--encoder", encoder, "--photos", 3, "--json")
    fixed = ("evaluate", "identify", "--data", tmp_path / "people.npz", *options)
    done = CliRunner().invoke(build(), [*map(str, fixed), "--detector", str(detector)])
    found = json.loads(done.stdout)
    assert found["left_out"] == 1 and found["asked"] == 14 and found["baselines"] == {}
    assert found["accuracy"] > 0.9
    # Of whole pictures, in which a face is small, this encoder makes next to nothing.
    whole = CliRunner().invoke(build(), [*map(str, fixed), "--baselines", "none"])
    assert isinstance(whole.exception, ImageError) and "below 1/4" in str(whole.exception)


def test_strangers_of_vectors_are_vectors(file, tmp_path):
    rng = np.random.default_rng(0)
    people = rng.normal(size=(7, 1, 16)) + rng.normal(size=(7, 12, 16)) / 4
    for name, kept in (("own", slice(5)), ("others", slice(5, 7))):
        rows = people[kept].reshape(-1, 16)
        np.savez(tmp_path / name, vectors=rows, labels=np.arange(len(rows)) // 12)
    ask = ("--preset", "vector", "--strangers", tmp_path / "others.npz", "--margin", 0.7, "--json")
    found = json.loads(evaluate(tmp_path / "own.npz", tmp_path / "out", *ask).stdout)
    assert found["strangers"]["strangers"] == 24 and 0 <= found["far_at_margin"] <= 1
    mixed = evaluate(tmp_path / "own.npz", tmp_path / "two", *ask[:3], file)
    assert "pictures and vectors are not compared" in str(mixed.exception)
    itself = evaluate(tmp_path / "own.npz", tmp_path / "three", *ask[:3], tmp_path / "own.npz")
    assert "60 of 60 vectors are the owners' own too" in str(itself.exception)


def test_strangers_of_their_own_set_and_rivals_are_measured_at_a_margin(file, tmp_path):
    given = digits.load(0).train_images
    others = tmp_path / "others.npz"
    images = np.concatenate([given[digit][:60] for digit in (4, 5)])
    np.savez(others, images=images, labels=np.repeat([0, 1], 60))
    spec = preset("subspace32", height=32, width=32, channels=1)
    rows = extract(spec, np.ascontiguousarray(given[7][:20]))
    rivals.write(tmp_path / "r.npz", Rivals.of(rows, spec.input_shape), spec)
    ask = ("--preset", "subspace32", "--strangers", others, "--margin", 0.7, "--json")
    found = json.loads(evaluate(file, tmp_path / "out", *ask).stdout)
    assert found["strangers"]["strangers"] == 120
    assert 0 <= found["far_at_margin"] <= 1 and 0 < found["tar_at_far_01"] <= 1
    assert found["tar_at_far_001"] is None
    rate = found["strangers"]["far_at_margin"]
    assert rate["low"] <= rate["share"] <= rate["high"] and rate["margin"] == 0.7
    told = json.loads(evaluate(file, tmp_path / "two", *ask, "--rivals", tmp_path / "r.npz").stdout)
    assert told["far_at_margin"] <= found["far_at_margin"]  # rivals let nobody in
    said = evaluate(file, tmp_path / "three", *ask[:-1]).stdout
    assert "TAR at FAR 1 %: " in said and "0.1 %: not resolvable with 120 strangers" in said
