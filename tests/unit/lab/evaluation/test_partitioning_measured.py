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
from privedge_lab.evaluation.facts import with_task
from privedge_lab.evaluation.partitioning import Plan, measure, parts_of, summary
from privedge_lab.results.rows.partitioning import PartitioningRow
from privedge_lab.results.store import Results

TASK, PRIVATE = "digit>4", "round"


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    small = np.rint(data.images[:400] * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    labels = data.target[:400]
    facts = {"digit": labels, "round": np.isin(labels, (0, 6, 8, 9)).astype(np.int64)}
    return from_arrays(images, labels, facts)


def plan(part, taught="training"):
    return Plan(
        task=TASK,
        private=PRIVATE,
        defence="partitioning",
        network="lenet",
        cut="relu4",
        strengths=(0.2,),
        seeds=(0,),
        part=part,
        taught=taught,
        decoder_epochs=4,
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
    assert plain.psnr_db > plain.mean_image_psnr_db and plain.ssim > plain.mean_image_ssim
    assert {"floor_accuracy", "images", "seed"} <= plain.to_json().keys()
    again = Results("partitioning", {}, path, resume=True)
    assert list(measure(plan("test"), digits, again)) == rows
    assert again.rows == results.rows


def test_strengths_are_chosen_without_test_images(digits):
    labelled = with_task(digits, TASK, PRIVATE)
    tested, chosen = (parts_of(labelled, plan(part), 0) for part in ("test", "validation"))
    secret = {image.numpy().tobytes() for image in tested.test.images}
    seen = torch.cat([chosen.network.images, chosen.test.images])
    assert not secret & {image.numpy().tobytes() for image in seen}
    assert len(seen) == len(tested.network)
    for part in (tested.network, tested.test):
        assert torch.equal(part.labels, (part.facts["digit"] > 4).long())


def test_attackers_may_be_taught_on_images_that_the_network_never_saw(digits):
    labelled = with_task(digits, TASK, PRIVATE)
    same, apart = (parts_of(labelled, plan("test", taught), 0) for taught in ("training", "unseen"))
    assert torch.equal(same.network.images, same.attackers.images)
    assert len(apart.network) + len(apart.attackers) == len(same.network)
    bytes_of = [{i.numpy().tobytes() for i in p.images} for p in (apart.network, apart.attackers)]
    assert not bytes_of[0] & bytes_of[1]
    assert torch.equal(same.test.images, apart.test.images)


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


def test_a_summary_shows_the_spread_over_seeds():
    rows = [
        PartitioningRow.read(
            {"strength": 0.0, "seed": seed, "task_accuracy": 0.8}
            | {"majority": 0.5, "floor_accuracy": 0.5, "attacker_accuracy": 0.5 + above}
        )
        for seed, above in enumerate((0.1, 0.0, 0.3, 0.2, 0.05))
    ]
    (found,) = summary(rows)
    assert found.above_majority_each == pytest.approx((0, 5, 10, 20, 30))
    assert found.quartiles() == pytest.approx((0, 5, 10, 20, 30))


@pytest.mark.parametrize(
    "task, private, message",
    [
        ("age>35", "round", "age: the set has no such fact; it has labels, digit, round"),
        ("digit>4", "gender", "gender: the set has no such fact"),
        ("digit>9", "round", "needs at least two values"),
        ("digit=1,x", "round", "write whole numbers, as in age:35 or labels=0,1,8"),
    ],
)
def test_a_task_that_is_none_is_refused(digits, task, private, message):
    with pytest.raises(ConfigError, match=message):
        with_task(digits, task, private)


def test_a_task_may_ask_whether_a_label_is_one_of_several(digits):
    odd = with_task(digits, "labels=1,3,5,7,9", "round").labels
    assert torch.equal(odd, digits.labels % 2)
