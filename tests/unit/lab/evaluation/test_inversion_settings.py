"""`privedge attack inversion`: every cell of the table of He et al. is there and is measured."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privedge.cli.main import main
from privedge.errors import ConfigError
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape
from privedge_lab import datasets
from privedge_lab.attacks.inversion.query_free import QueryFreeSettings, imitation
from privedge_lab.attacks.views import BlackBoxView
from privedge_lab.baseline.network import build, head, sent_shape
from privedge_lab.baseline.presets import lenet, preset
from privedge_lab.evaluation import inversion
from privedge_lab.evaluation.inversion import measure
from privedge_lab.evaluation.inversion_plan import CUTS, SETTINGS, Plan, paper
from privedge_lab.results.store import Results

QUICK = {"images": 8, "epochs": 20, "shadow_epochs": 1, "effort": 0.05}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    digits = load_digits(n_class=4)
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images[:240], labels=digits.target[:240])
    return path


def test_all_nine_settings_are_measured_beside_the_papers_figures(data):
    plan = Plan("lenet", ("conv1",), **QUICK)
    rows = {
        row.setting: row for row in measure(plan, datasets.read(data), Results("inversion", {}))
    }
    assert list(rows) == list(SETTINGS) and len(rows) == 9
    assert rows["white-box"].paper_psnr_db == 39.69
    assert rows["white-box"].psnr_db > rows["query-free-other-set-other-net"].psnr_db
    assert rows["black-box-same-set"].psnr_db > rows["black-box-noise"].psnr_db
    assert all(row.images == 8 and 0 <= row.task_accuracy <= 1 for row in rows.values())


def test_what_is_measured_is_not_measured_again(data):
    results = Results("inversion", {})
    images = datasets.read(data)
    one = Plan("lenet", ("conv1",), ("white-box",), **QUICK)
    assert len(list(measure(one, images, results))) == 1
    assert list(measure(one, images, results)) == []


def test_a_run_that_is_gone_on_with_takes_the_network_that_is_there(data, tmp_path, monkeypatch):
    images, kept = datasets.read(data), tmp_path / "rows.network"
    one = Plan("lenet", ("conv1",), ("white-box",), **QUICK)
    other = replace(one, settings=("black-box-noise",))
    (whole,) = measure(other, images, Results("inversion", {}))
    (first,) = measure(one, images, Results("inversion", {}), kept=kept)
    with monkeypatch.context() as patched:
        patched.setattr(inversion, "train", None)  # nothing is trained again
        (second,) = measure(other, images, Results("inversion", {}), kept=kept)
    assert first.task_accuracy == second.task_accuracy
    assert second == replace(whole, cpu_s=second.cpu_s)
    before = kept.read_bytes()
    (longer,) = measure(replace(one, epochs=40), images, Results("inversion", {}), kept=kept)
    assert kept.read_bytes() != before and longer.psnr_db != first.psnr_db


def test_a_file_that_is_no_network_stays(data, tmp_path):
    kept = tmp_path / "rows.network"
    kept.write_text("mine")
    with pytest.raises(ConfigError, match="exists and is no network of privedge"):
        next(measure(Plan("lenet", ("conv1",)), datasets.read(data), Results("x", {}), kept=kept))
    assert kept.read_text() == "mine"


@pytest.mark.parametrize(("network", "cut"), [(n, cut) for n, cuts in CUTS.items() for cut in cuts])
def test_a_shadow_of_another_structure_sends_what_the_tail_takes(network, cut):
    plan = Plan(network, (cut,))
    spec = plan.shadow(cut, 10, other_net=True).shadow
    assert sent_shape(spec, cut) == sent_shape(preset(network, 10), cut)
    assert spec.layers != preset(network, 10).layers
    assert build(spec)(torch.rand((2, *spec.input))).shape == (2, 10)


def test_the_papers_table_has_a_figure_for_every_cell():
    cells = [paper(setting, cut) for cuts in CUTS.values() for cut in cuts for setting in SETTINGS]
    assert len(set(cells)) == 45
    assert paper("shadow-queried", "relu32") == (12.61, 0.1145)
    assert paper("black-box-noise", "conv11") == (48.59, 0.9996)


def test_an_imitation_comes_to_put_out_what_the_device_does(data):
    known = datasets.read(data)
    device = head(build(lenet(), torch.Generator().manual_seed(1)), "conv1").requires_grad_(False)
    view = BlackBoxView(device(known.images[:4]), device, known)
    settings = QueryFreeSettings(lenet(), "conv1", epochs=15, rate=1e-2)
    made = imitation(view, settings, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        gap = (made(known.images[:4]) - view.sent).square().mean()
    assert gap < 0.1 * view.sent.square().mean()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan("face", ()), "face: the table is of lenet, cifar"),
        (Plan("lenet", ("fc1",)), "fc1: the table has conv1, relu2"),
        (Plan("cifar", ("conv11",), ("grey-box",)), "grey-box: the table has white-box, "),
    ],
)
def test_a_cell_that_is_not_there_is_refused(plan, message, data):
    with pytest.raises(ConfigError, match=message):
        next(measure(plan, datasets.read(data), Results("inversion", {})))


def test_the_command_prints_the_rows_that_it_stores(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "rows.json"
    arguments = ["attack", "inversion", "--data", str(data), "--cuts", "conv1", "--json"]
    arguments += ["--settings", "white-box", "--images", "4", "--effort", "0.02"]
    monkeypatch.setattr(sys, "argv", ["privedge", *arguments, "--out", str(out)])
    with pytest.raises(SystemExit) as ending:
        main()
    printed = capsys.readouterr()
    assert (ending.value.code, printed.err) == (0, "")
    assert json.loads(printed.out) == json.loads(out.read_text())
    assert [row["setting"] for row in json.loads(printed.out)["rows"]] == ["white-box"]
