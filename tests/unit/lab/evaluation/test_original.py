"""The original network's curve, here with a small network: points, sittings, final figures."""

import itertools
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from privedge.cli.ending import nothing_left_running
from privedge.errors import ConfigError
from privedge.user.adversarial import Contest
from privedge.user.checkpoint import Ran
from privedge_lab.datasets import read
from privedge_lab.demo import digits
from privedge_lab.evaluation import original, original_turns
from privedge_lab.evaluation.identify_parts import Choice
from privedge_lab.evaluation.original import Plan
from privedge_lab.results.store import Results


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:30] for digit in range(3)])
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images, labels=np.repeat(np.arange(3), 30))
    return path


@pytest.fixture
def plan(file):
    small = {"steps": 12, "batch": 4, "points": 3, "beside": "subspace32", "network": "conv32"}
    return Plan(file, Choice(0, owners=2), **small)


def quiet(*_: object) -> None:
    """Nobody watches."""


def measured(plan, folder, progress=quiet):
    """The row of one sitting, which goes on with what is in `folder`."""
    folder.mkdir(exist_ok=True)
    results = Results("x", {}, folder / "rows.json", resume=True)
    (last,) = original.measure(plan, read(plan.data), results, folder, progress)
    return last


def kept(folder):
    """All that is left of a training, but for times: its rows, and the models bit for bit."""
    rows = json.loads((folder / "rows.json").read_text())["rows"]
    models = {path.name: path.read_bytes() for path in (folder / "models").iterdir()}
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows], models


@pytest.fixture(scope="module")
def whole(file, tmp_path_factory):
    """A training that nobody broke off."""
    folder = tmp_path_factory.mktemp("whole")
    small = {"steps": 12, "batch": 4, "points": 3, "beside": "subspace32", "network": "conv32"}
    return measured(Plan(file, Choice(0, owners=2), **small), folder), folder


def test_the_curve_ends_with_figures_beside_those_of_another_preset(plan, whole):
    last, folder = whole
    rows = json.loads((folder / "rows.json").read_text())["rows"]
    for owner in ("class-0", "class-2"):
        curve = [row for row in rows if row.get("owner") == owner]
        assert [(row["point"], row["step"]) for row in curve] == [(1, 4), (2, 8), (3, 12)]
        seconds = [row["seconds"] for row in curve]
        assert seconds == sorted(set(seconds)) and seconds[0] > 0
        assert curve[-1]["best_validation_error"] <= curve[0]["validation_error"] < 10
        assert last.steps[owner] == 12
        assert Ran.load(folder / "models" / f"{owner}.ran").owner == owner
    together = [row for row in rows if "owner" not in row and "final" not in row]
    assert [row["point"] for row in together] == [1, 2, 3]
    assert together[-1]["macro_recall"] == last.macro_recall
    assert rows[-1] == json.loads(json.dumps(last.to_json()))
    assert last.final and last.baselines["subspace32"].macro_recall > 0.9
    assert not (folder / "unfinished").exists()
    again = measured(plan, folder)
    assert again == last and again.as_stored() == rows[-1]


def test_sittings_of_a_moment_come_to_what_one_long_sitting_does(plan, whole, tmp_path):
    for name in ("unfinished", "models"):
        (tmp_path / name).mkdir()
    request = requested(plan, tmp_path) | {"seconds": 1e-9}
    done = []
    while not done or done[-1] < 24:
        done.append(sum(original_turns.answered(request, quiet).values()))
    # An owner that comes to a point makes room for the next one's step.
    assert done == sorted(set(done)) and len(done) > 12
    assert measured(plan, tmp_path).final
    assert kept(tmp_path) == kept(whole[1])


def test_a_sitting_ends_when_its_minutes_are_over(plan, tmp_path):
    last = measured(replace(plan, minutes=1e-9), tmp_path)
    assert last.final is None and last.steps == {"class-0": 1, "class-2": 0}
    assert not (tmp_path / "rows.json").exists()


def test_a_sitting_that_is_told_to_end_by_sigterm_is_gone_on_with(plan, whole, tmp_path):
    def end_after_three(*_: object) -> None:
        if len(json.loads((tmp_path / "rows.json").read_text())["rows"]) >= 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(SystemExit), nothing_left_running():
        measured(plan, tmp_path, end_after_three)
    assert 3 <= len(kept(tmp_path)[0]) < len(kept(whole[1])[0])
    assert measured(replace(plan, processes=2), tmp_path).final
    rows, models = kept(tmp_path)
    # Two processes tell in any order.
    assert sorted(map(json.dumps, rows)) == sorted(map(json.dumps, kept(whole[1])[0]))
    assert models == kept(whole[1])[1]


@pytest.mark.parametrize("after", [1, 6, 13, 23])
def test_a_process_that_ends_in_the_middle_of_a_step_is_gone_on_with(
    plan, whole, tmp_path, monkeypatch, after
):
    count = itertools.count(1)
    whole_step = Contest._step_r

    def breaks(contest, batch):
        whole_step(contest, batch)
        if next(count) == after:  # R is a step ahead of what is counted
            raise SystemExit

    for name in ("unfinished", "models"):
        (tmp_path / name).mkdir()
    request = requested(plan, tmp_path)
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(original_turns, "_SAVE_S", 0.0)
        patched.setattr(Contest, "_step_r", breaks)
        original_turns.answered(request, quiet)
    original_turns.answered(request, quiet)
    rows, models = kept(whole[1])
    wanted = [{k: v for k, v in row.items() if k != "seed"} for row in rows if "owner" in row]
    found = map(json.loads, (path.read_text() for path in (tmp_path / "unfinished").glob("*.json")))
    told = [{k: v for k, v in row.items() if k in wanted[0]} for row in found]
    assert sorted(map(by_name, told)) == sorted(map(by_name, wanted))
    assert {path.name: path.read_bytes() for path in (tmp_path / "models").iterdir()} == models


def by_name(row):
    """A row as text, the same for the same figures."""
    return json.dumps(row, sort_keys=True)


def requested(plan, folder):
    """What `measure` asks its one process for."""
    parts = original.deal(read(plan.data), plan.choice)
    spec = original.spec_of(plan.network, parts)
    (request,) = original.requests(plan, spec, parts, folder, folder)
    return json.loads(json.dumps(request))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 0}, "minutes"),
        ({"points": 13}, "points"),
        ({"device": "cuda", "processes": 2}, "processes"),
    ],
)
def test_a_plan_that_means_nothing_is_refused(plan, changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(plan, **changes)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
def test_on_cuda_one_process_trains_all(plan, tmp_path):
    last = measured(replace(plan, device="cuda", points=1, steps=60), tmp_path)
    assert min(last.steps.values()) > 0 and last.macro_recall > 0.5
