"""Dropped activation outputs on signals: tasks, the counting condition, who gets round it."""

import numpy as np
import pytest
import torch

from privedge.errors import CheckpointError, ConfigError, TrainingError
from privedge_lab.attacks import scores
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.defences.counting import counting
from privedge_lab.baseline.network import build, head, sent_shape, tail
from privedge_lab.baseline.presets import lenet
from privedge_lab.baseline.spec import NetworkSpec
from privedge_lab.baseline.train import Trainee, TrainSettings, train
from privedge_lab.evaluation.signals import ATTACKS, Plan, measure
from privedge_lab.results.store import Results
from privedge_lab.signals import ecg, pendulum
from privedge_lab.signals.tasks import CUT, NETWORKS, TASKS, network, task


@pytest.fixture(scope="module")
def rows():
    plan = Plan(("diabetes",), strengths=(0.0, 0.6), signals=40, effort=0.3)
    return {(row.strength, row.attack): row for row in measure(plan, Results("signals", {}))}


def test_a_row_for_every_attack_with_the_cost_of_the_device(rows):
    assert set(rows) == {(strength, attack) for strength in (0.0, 0.6) for attack in ATTACKS}
    row = rows[0.6, "prior"]
    assert (row.inputs, row.outputs, row.kept, row.holds) == (10, 20, 8, True)
    assert row.measure == "R squared" and 0 < row.quality < 1
    assert (row.sent_bytes, row.signal_bytes) == (80, 40)
    assert (row.head_bytes, row.multiplications) == (4 * (200 + 20), 200)
    assert row.device_us > 0


def test_as_many_equations_as_values_give_the_signal_away(rows):
    assert not rows[0.0, "pseudo-inverse"].holds
    assert rows[0.0, "pseudo-inverse"].psnr_db > 60


def test_fewer_do_not_but_who_knows_such_signals_does_better_than_counting_says(rows):
    assert rows[0.6, "pseudo-inverse"].psnr_db < 40
    assert rows[0.6, "prior"].psnr_db > rows[0.6, "pseudo-inverse"].psnr_db
    assert rows[0.6, "prior"].psnr_db > rows[0.6, "mean"].psnr_db


def test_what_is_measured_is_not_measured_again():
    results = Results("signals", {})
    plan = Plan(("diabetes",), strengths=(0.5,), signals=20, effort=0.02)
    first = list(measure(plan, results))
    assert len(first) == len(ATTACKS)
    assert list(measure(plan, results)) == []


@pytest.mark.parametrize(
    "plan, message",
    [
        (Plan(("eeg",)), "eeg: no such task; there are ecg, pendulum, diabetes"),
        (Plan(("diabetes",), ("lenet",)), "lenet: no such network"),
        (Plan(("diabetes",), strengths=(1.0,)), "strength must be at least 0 and below 1"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_trained(plan, message):
    with pytest.raises(ConfigError, match=message):
        next(measure(plan, Results("signals", {})))


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_the_same_for_the_same_seed_and_fits_its_networks(name):
    one, again, other = task(name, 3), task(name, 3), task(name, 4)
    assert torch.equal(one.parts.test.images, again.parts.test.images)
    assert not torch.equal(one.parts.test.images, other.parts.test.images)
    images = one.parts.train.images
    assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
    for layers in NETWORKS:
        spec = network(layers, one)
        assert NetworkSpec.from_json(spec.to_json(), where="x") == spec
        whole = build(spec, torch.Generator().manual_seed(0)).eval()
        sent = head(whole, CUT)(images[:2])
        assert tuple(sent.shape[1:]) == sent_shape(spec, CUT)
        assert torch.equal(tail(whole, CUT)(sent), whole(images[:2]))
        assert sent[0].numel() == 2 * images[0].numel()


def test_counting_along_time_is_of_the_points_that_one_output_sees():
    counted = counting(network("convolution", task("pendulum", 0)), CUT, 0.6)
    assert (counted.inputs, counted.outputs, counted.patch) == (128, 256, 2 * 9)
    assert counted.holds


def test_an_ecg_has_what_its_rhythm_says():
    signals, kinds = ecg.windows(60, 10, np.random.default_rng(0))
    assert signals.shape == (600, 1, 1, ecg.POINTS) and set(kinds) == {0, 1, 2}
    assert np.abs(signals).max() < 4
    # A beat from the ventricle is broad, so more of its window lies far from the middle.
    above = [(np.abs(signals[kinds == kind]) > 0.4).mean() for kind in range(3)]
    assert above[1] > 1.2 * above[0]


def test_a_short_pendulum_swings_faster_and_loses_height():
    signals, length = pendulum.windows(300, np.random.default_rng(0))
    gyroscope = signals[:, 1, 0]
    turns = (np.diff(np.sign(gyroscope), axis=1) != 0).sum(1)
    assert np.corrcoef(turns, length)[0, 1] < -0.6
    quarter = pendulum.POINTS // 4
    early, late = (np.abs(part).max(1).mean() for part in np.split(gyroscope, [-quarter], axis=1))
    assert late < early


def test_a_regression_and_classes_are_not_mixed_up():
    made = task("diabetes", 0)
    spec = network("dense", made).model_copy(update={"classes": 2})
    with pytest.raises(TrainingError, match="predicts classes, the images have values"):
        train(Trainee(spec, CUT, Defence(), b""), made.parts.train, TrainSettings(epochs=1))


def test_a_signal_of_another_shape_is_refused():
    text = lenet().to_json().replace("[1,28,28]", "[1,2,28]")
    with pytest.raises(CheckpointError, match=r"a signal: \(channels 1 to 64, 1, points\)"):
        NetworkSpec.from_json(text, where="x")


def test_correlation_is_of_the_shape_and_not_of_the_level():
    signals = torch.rand((3, 2, 1, 20), generator=torch.Generator().manual_seed(0))
    assert scores.correlation(0.5 * signals + 0.2, signals) == pytest.approx([1, 1, 1])
    assert scores.correlation(-signals, signals) == pytest.approx([-1, -1, -1])
    assert scores.correlation(torch.ones_like(signals), signals) == pytest.approx([0, 0, 0])
