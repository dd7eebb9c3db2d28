"""The measurement of Privacy Partitioning: the task from a fact, fair splits, means over seeds."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privedge.errors import ConfigError
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape
from privedge_lab.attacks.attributes import AttackerSettings
from privedge_lab.baseline.train import TrainSettings
from privedge_lab.datasets import from_arrays
from privedge_lab.evaluation.partitioning import Plan, Task, _parts, measure, summary, with_task
from privedge_lab.results.rows.partitioning import PartitioningRow
from privedge_lab.results.store import Results

TASK = Task("digit", 4, "round")


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    small = np.rint(data.images[:400] * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    labels = data.target[:400]
    facts = {"digit": labels, "round": np.isin(labels, (0, 6, 8, 9)).astype(np.int64)}
    return from_arrays(images, labels, facts)


def plan(part):
    return Plan(
        task=TASK,
        defence="partitioning",
        network="lenet",
        cut="relu4",
        strengths=(0.2,),
        seeds=(0,),
        part=part,
        training=TrainSettings(epochs=2),
        attackers=AttackerSettings(seeds=(0,), epochs=4),
    )


def test_rows_hold_task_attacker_and_floor_with_and_without_the_defence(digits, tmp_path):
    path, seen = tmp_path / "rows.json", []
    results = Results("partitioning", {}, path)
    told = {"progress": lambda doing, done, of: seen.append((done, of))}
    rows = list(measure(plan("test"), digits, results, **told))
    assert [row.defence for row in rows] == ["none", "partitioning"]
    assert seen == [(0, 2), (1, 2), (2, 2)]
    plain = rows[0]
    assert plain.task_accuracy > 0.6
    assert plain.attacker_accuracy > plain.majority
    assert {"floor_accuracy", "images", "seed"} <= plain.to_json().keys()
    again = Results("partitioning", {}, path, resume=True)
    assert list(measure(plan("test"), digits, again)) == rows
    assert again.rows == results.rows


def test_strengths_are_chosen_without_test_images(digits):
    labelled = with_task(digits, TASK)
    tested, chosen = _parts(labelled, plan("test"), 0), _parts(labelled, plan("validation"), 0)
    secret = {image.numpy().tobytes() for image in tested.test.images}
    seen = torch.cat([chosen.train.images, chosen.test.images])
    assert not secret & {image.numpy().tobytes() for image in seen}
    assert len(seen) == len(tested.train)
    for part in (tested.train, tested.test):
        assert torch.equal(part.labels, (part.facts["digit"] > 4).long())


def test_a_summary_is_of_means_over_seeds():
    row = {"majority": 0.5, "floor_accuracy": 0.55}
    rows = [
        PartitioningRow.read(
            row
            | {"strength": strength, "seed": seed, "task_accuracy": task, "attacker_accuracy": got}
        )
        for strength, seed, task, got in (
            (0.0, 0, 0.8, 0.9), (0.0, 1, 0.7, 0.8), (1.0, 0, 0.75, 0.6), (1.0, 1, 0.71, 0.5),
        )
    ]  # fmt: skip
    plain, defended = summary(rows)
    assert plain.task_loss_points == pytest.approx(0)
    assert plain.above_majority_points == pytest.approx(35)
    assert defended.task_loss_points == pytest.approx(2)
    assert defended.above_majority_points == pytest.approx(5)
    assert defended.floor_above_majority_points == pytest.approx(5)


@pytest.mark.parametrize(
    "task, message",
    [
        (Task("age", 35, "round"), "age: the images have no such fact; they have digit, round"),
        (Task("digit", 4, "gender"), "gender: the images have no such fact"),
        (Task("digit", 9, "round"), "is the same of all images"),
    ],
)
def test_a_task_that_is_none_is_refused(digits, task, message):
    with pytest.raises(ConfigError, match=message):
        with_task(digits, task)
