"""`privedge attack table`: its rows, its pictures, and going on where it was interrupted."""

import json
import sys
from dataclasses import asdict

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privedge import child_processes
from privedge.cli.main import main
from privedge.errors import ConfigError, TrainingError
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape
from privedge_lab.baseline.network import build
from privedge_lab.baseline.presets import lenet
from privedge_lab.evaluation import attack_plan, attack_table
from privedge_lab.evaluation.attack_pictures import Pictures
from privedge_lab.evaluation.attack_plan import Job, TableSettings
from privedge_lab.results.rows.inversion import InversionRow
from privedge_lab.results.store import Results

NEEDED = {"attack", "cut", "defence", "strength", "psnr_db", "ssim", "images"}
NEEDED |= {"task_accuracy", "seed", "psnr_db_plus_minus", "ssim_plus_minus"}
QUICK = TableSettings(images=12, seed=3, effort=0.05)
FEW = (
    Job("conv1", ("mean-image", "white-box", "black-box")),
    Job("relu2", ("white-box", "white-box-unadapted"), "dropping", 0.5),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    digits = load_digits(n_class=4)
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images[:240], labels=digits.target[:240])
    return path


def empty(path=None, resume=False):
    return Results("attack table", asdict(QUICK), path, resume=resume)


def test_rows_tell_what_was_attacked_and_how_well(data):
    results = empty()
    found = list(attack_table.measure(QUICK, data, results, jobs=FEW, processes=0))
    assert [each.row.attack for each in found] == [name for job in FEW for name in job.attacks]
    assert all(set(each.row.to_json()) >= NEEDED for each in found)
    rows = {(row["attack"], row["defence"]): row for row in results.rows}
    assert rows["black-box", "none"]["psnr_db"] > rows["mean-image", "none"]["psnr_db"]
    assert {row["images"] for row in results.rows} == {12}
    assert all(0 <= row["task_accuracy"] <= 1 for row in results.rows)


def test_a_resumed_table_measures_only_what_is_missing(data, tmp_path):
    path, told = tmp_path / "table.json", []
    measuring = attack_table.measure(QUICK, data, empty(path), jobs=FEW, processes=0)
    # The first row is stored when the second is asked for.
    first, _ = next(measuring), next(measuring)
    measuring.close()
    again = list(
        attack_table.measure(
            QUICK, data, empty(path, resume=True), jobs=FEW[:1], processes=0,
            progress=lambda *now: told.append(now),
        )
    )  # fmt: skip
    assert [each.row.attack for each in again] == ["white-box", "black-box"]
    assert first.row.to_json() in json.loads(path.read_text())["rows"]
    assert told == [("conv1 none", 1, 1)]


def test_pictures_of_every_row_and_three_figures(data, tmp_path):
    results, pictures = empty(), Pictures(tmp_path / "out")
    for found in attack_table.measure(QUICK, data, results, jobs=FEW, processes=0):
        pictures.keep(found)
    pictures.draw(attack_table.originals(data, QUICK), results.read(InversionRow))
    made = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*.png")}
    assert made >= {"sheet-conv1.png", "sheet-relu2.png"}
    assert made >= {"depth.png", "dense-layer.png", "defences.png"}
    assert "shown/relu2-dropping-0.5-white-box.png" in made


def test_the_command_prints_one_object_with_rows(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(attack_plan, "jobs", lambda: FEW[:1])
    arguments = ["attack", "table", "--data", str(data), "--images", "12", "--seed", "3"]
    arguments += ["--effort", "0.05", "--processes", "1", "--json", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["privedge", *arguments])
    with pytest.raises(SystemExit) as ending:
        main()
    printed = capsys.readouterr()
    assert (ending.value.code, printed.err) == (0, "")
    document = json.loads(printed.out)
    assert [row["attack"] for row in document["rows"]] == list(FEW[0].attacks)
    assert document == json.loads((tmp_path / "out" / "table.json").read_text())
    # A worker's figures are those of this process: all that is drawn comes from the seed.
    here = attack_table.run(data, QUICK, FEW[0])
    for row, found in zip(document["rows"], here, strict=True):
        assert row["psnr_db"] == pytest.approx(found.row.psnr_db, abs=0.2)


def test_resuming_needs_a_folder(data, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["privedge", "attack", "table", "--data", str(data), "--resume"]
    )
    with pytest.raises(SystemExit) as ending:
        main()
    assert ending.value.code == 1
    assert "give --out" in capsys.readouterr().err


def test_too_few_images_are_refused_before_anything_is_measured(data):
    many = TableSettings(images=1000)
    with pytest.raises(ConfigError, match="test images, 1000 were asked for"):
        next(attack_table.measure(many, data, empty(), processes=0))


def test_what_a_worker_cannot_do_is_told_in_its_words(data):
    request = {
        "data": str(data),
        "settings": asdict(QUICK),
        "job": asdict(Job("conv1", ("white-box",), "nonsense")),
    }
    with (
        child_processes.started(1, "privedge_lab.evaluation.attack_table") as ask,
        pytest.raises(TrainingError, match="nonsense: no such defence"),
    ):
        list(ask([("one", request)]))


def test_an_attackers_shadow_does_not_begin_with_the_networks_own_weights():
    def drawn(seed):
        return build(lenet(), torch.Generator().manual_seed(seed)).state_dict()["conv1.weight"]

    for seed in range(3):
        own, attackers = drawn(seed), drawn(attack_table.attacker_seed(seed))
        together = torch.stack([own.flatten(), attackers.flatten()])
        # 200 independent weights: 0.5 is seven standard deviations.
        assert abs(torch.corrcoef(together)[0, 1]) < 0.5


def test_the_plan_has_every_figure_that_was_promised():
    planned = {(job.cut, attack) for job in attack_plan.jobs() for attack in job.attacks}
    attacks = ("white-box", "black-box", "black-box-residual", "query-free", "mean-image")
    assert planned >= {(cut, attack) for cut in ("conv1", "relu2", "fc1") for attack in attacks}
    assert {job.defence for job in attack_plan.jobs()} >= {"none", "gaussian", "dropping"}
