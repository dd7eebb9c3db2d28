"""The original network's curve, here with a small network: points, resuming, final figures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from privedge.errors import ConfigError
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
    return Plan(
        file, Choice(0, owners=2), 0.02, batch=4, points=3, beside="subspace32", network="conv32"
    )


def quiet(*_: object) -> None:
    """Nobody watches."""


def test_the_curve_goes_on_and_ends_with_figures_beside_those_of_another_preset(plan, tmp_path):
    folder, path = tmp_path / "unfinished", tmp_path / "rows.json"
    (last,) = original.measure(plan, read(plan.data), Results("x", {}, path), folder, quiet)
    rows = json.loads(path.read_text())["rows"]
    for owner in ("class-0", "class-2"):
        curve = [row for row in rows if row.get("owner") == owner]
        assert [row["point"] for row in curve] == [1, 2, 3]
        for name in ("step", "seconds"):
            values = [row[name] for row in curve]
            assert values == sorted(set(values)) and values[0] > 0
        assert curve[-1]["best_validation_error"] < curve[0]["validation_error"] < 10
        assert last.steps[owner] == curve[-1]["step"]
    together = [row for row in rows if "owner" not in row and "final" not in row]
    assert [row["point"] for row in together] == [1, 2, 3]
    assert together[-1]["macro_recall"] == last.macro_recall
    assert rows[-1] == json.loads(json.dumps(last.to_json()))
    assert last.baselines["subspace32"].macro_recall > 0.9
    assert last.seconds_each == pytest.approx(0.6)
    assert not folder.exists()
    stored = Results("x", {}, path, resume=True)
    (again,) = original.measure(plan, read(plan.data), stored, folder, quiet)
    assert again == last and again.as_stored() == rows[-1]


def test_what_was_broken_off_is_gone_on_with(plan, tmp_path):
    told = []
    request = requested(plan, tmp_path)

    def stop(message):
        told.append(message)
        if len(told) == 3:  # the first owner has been at the second point
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        original_turns.answered(request, stop)
    again = []
    original_turns.answered(request, again.append)
    kept = ("owner", "point", "step")
    whole = [{name: row[name] for name in kept} for row in again]
    assert [row["point"] for row in whole] == [1, 1, 2, 2, 3, 3]
    # The second owner was only at the first point; the first owner says again where it is.
    assert whole[1] == {name: told[1][name] for name in kept}
    assert whole[2]["step"] == told[2]["step"]


def requested(plan, folder):
    """What `measure` asks its one process for."""
    parts = original.deal(read(plan.data), plan.choice)
    spec = original.spec_of(plan.network, parts)
    (request,) = original.requests(plan, spec, parts, folder, folder)
    return json.loads(json.dumps(request))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"minutes": 0}, "minutes"), ({"device": "cuda", "processes": 2}, "processes")],
)
def test_a_plan_that_means_nothing_is_refused(plan, changes, message):
    with pytest.raises(ConfigError, match=message):
        replace(plan, **changes)


def test_owners_are_shared_out_and_take_turns_where_there_are_more_than_processes(file):
    plan = Plan(file, Choice(0), 6.0, processes=2)
    assert [plan.seconds_each(owners) for owners in (1, 2, 3, 5)] == [360, 360, 180, 120]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
def test_on_cuda_one_process_trains_all(plan, tmp_path):
    on_cuda = replace(plan, device="cuda", points=1)
    (last,) = original.measure(on_cuda, read(plan.data), Results("x", {}), tmp_path / "u", quiet)
    assert min(last.steps.values()) > 0 and last.macro_recall > 0.5
