"""Biased training measured on made images: who trains on what, what is asked, what is left out."""

from dataclasses import replace

import numpy as np
import pytest

from privedge.errors import ConfigError
from privedge_lab import datasets
from privedge_lab.evaluation import bias, cohort, identify_baselines
from privedge_lab.evaluation.bias import IMAGES, Bias, Request
from privedge_lab.evaluation.cohort import Task
from privedge_lab.evaluation.identify_parts import Choice
from privedge_lab.results.rows.bias import Trained
from privedge_lab.results.store import Results, summary

OWNERS, EACH, SIDE, KINDS = 3, 30, 32, 2


def stripes(rng, angle):
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = np.sin(np.cos(angle) * x + np.sin(angle) * y + rng.uniform(0, 2 * np.pi))
    return 128 + 60 * wave + rng.normal(0, 10, (SIDE, SIDE))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Stripes of a direction for each owner; on pages of kind 1 another owner's direction.

    Of kind 2 there are two images, of owner 0 only. Pixel (0, 0) says the kind, to tell by.
    """
    rng = np.random.default_rng(0)
    images, labels, kinds = [], [], []
    for owner in range(OWNERS):
        for number in range(EACH):
            kind = 2 if owner == 0 and number < 2 else number % KINDS
            image = stripes(rng, np.pi * ((owner + (kind == 1)) % OWNERS) / OWNERS)
            image[0, 0] = kind
            images.append(image)
            labels.append(owner)
            kinds.append(kind)
    path = tmp_path_factory.mktemp("stripes") / "stripes.npz"
    pixels = np.clip(images, 0, 255).astype(np.uint8)
    np.savez(path, images=pixels, labels=np.array(labels), kind=np.array(kinds))
    return path


@pytest.fixture(scope="module")
def data(file):
    return datasets.read(file)


def quiet(*_: object) -> None:
    """Nobody watches."""


def measured(task, biases, data, seeds, results, progress):
    """The rows, and what was left out."""
    request, left_out = Request(**vars(task), biases=tuple(biases)), []
    rows = list(bias.measure(request, data, seeds, results, progress, left_out.append))
    return rows, left_out


def task_of(file, **changes) -> Task:
    return Task(file, **{"choice": Choice(0), "components": 4, "baselines": ()} | changes)


@pytest.fixture
def trained(monkeypatch):
    """What every cohort and the nearest neighbours were trained on, in turn."""
    seen: dict[str, list] = {"models": [], "knn": []}
    train, knn = cohort.train_models, identify_baselines.knn

    def spied_train(parts, *rest):
        seen["models"].append(parts.train)
        return train(parts, *rest)

    def spied_knn(parts, shape):
        seen["knn"].append(parts.train)
        return knn(parts, shape)

    monkeypatch.setattr(cohort, "train_models", spied_train)
    monkeypatch.setattr(identify_baselines, "knn", spied_knn)
    return seen


def pictures(images) -> set[bytes]:
    return {image.tobytes() for image in images}


def test_fewer_images_are_among_the_more_and_all_are_all(file, data, trained):
    biases = [Bias(IMAGES, 4), Bias(IMAGES, 9), Bias(IMAGES, None)]
    task = task_of(file, baselines=("knn",))
    rows, skipped = measured(task, biases, data, [1], Results("x", {}), quiet)
    assert [row.trained_on for row in rows] == [12, 27, OWNERS * EACH * 4 / 5] and not skipped
    assert {row.asked for row in rows} == {OWNERS * EACH / 5}
    few, more, everything = trained["models"]
    for owner in range(OWNERS):
        chain = [pictures(each[owner]) for each in (few, more, everything)]
        assert chain[0] < chain[1] < chain[2]
    for models, knn in zip(trained["models"], trained["knn"], strict=True):
        assert all(map(np.array_equal, models, knn))


def test_models_of_one_kind_fail_on_the_other_and_mixed_ones_do_not(file, data, trained):
    task = task_of(file, baselines=("knn",))
    (row,), _ = measured(task, [Bias("kind", 0)], data, [0], Results("x", {}), quiet)
    own, mixed = trained["models"]
    assert all((images[:, 0, 0] == 0).all() for images in own)
    assert all(set(images[:, 0, 0]) > {0} for images in mixed)
    assert [*map(len, own)] == [*map(len, mixed)]
    assert len(trained["knn"]) == 1
    # Kind 1 looks like another owner's kind 0: who never saw it answers that owner.
    assert row.same.macro_recall > 0.9 and row.macro_recall < 0.2
    assert row.mixed.macro_recall > row.macro_recall + 0.2
    assert row.same.asked + row.asked == OWNERS * EACH / 5
    assert row.baselines.keys() == row.same.baselines.keys() == {"knn"}


def test_a_value_or_number_that_an_owner_lacks_is_left_out_with_the_reason(file, data, trained):
    biases = [*bias.each_value(data, "kind"), Bias(IMAGES, 25), Bias(IMAGES, 2)]
    assert [each.value for each in biases] == [0, 1, 2, 25, 2]
    rows, skipped = measured(task_of(file), biases[1:], data, [0], Results("x", {}), quiet)
    assert [(row.bias, row.value) for row in rows] == [("kind", 1)]
    assert [each["reason"] for each in skipped] == [
        "kind=2: class-0 has 2 images to train on, which takes 3",
        "images=25: class-0 has 24 images to train on, which takes 25",
        "images=2: owners need at least 3 images to train on",
    ]
    assert len(trained["models"]) == 2  # kind 1, and mixed


@pytest.mark.parametrize(
    ("biases", "message"),
    [
        ([Bias("kind", 2)], "class-0 has"),
        ([Bias("colour", 1)], "no such fact"),
        ([Bias("kind", 7)], "0 images"),
    ],
)
def test_nothing_left_to_measure_is_an_error(file, data, biases, message):
    with pytest.raises(ConfigError, match=message):
        measured(task_of(file), biases, data, [0], Results("x", {}), quiet)


def test_a_kind_that_nobody_asks_about_is_not_the_same(file, data):
    """Asked are images of kind 1 only, so that there is nothing of kind 0 to ask."""
    owners_1_and_2 = data.take(data.labels > 0)
    task = task_of(file, choice=Choice(0, where=("kind", 1)))
    rows, skipped = measured(
        task, bias.each_value(data, "kind")[:2], owners_1_and_2, [0], Results("x", {}), quiet
    )
    assert [row.value for row in rows] == [0] and rows[0].same is None
    assert rows[0].mixed.same is None and skipped[0]["value"] == 1
    assert summary([rows[0], replace(rows[0], same=Trained.read({"asked": 1}))])["same"] is None


def test_a_resumed_measurement_trains_only_what_is_missing(file, data, tmp_path, trained):
    path = tmp_path / "rows.json"
    first = [Bias(IMAGES, 4)]
    measured(task_of(file), first, data, [0], Results("x", {}, path), quiet)
    again = Results("x", {}, path, resume=True)
    measured(task_of(file), first, data, [0], again, quiet)
    assert len(trained["models"]) == 1
    rows, _ = measured(task_of(file), [*first, Bias(IMAGES, 9)], data, [0], again, quiet)
    assert len(trained["models"]) == 2 and len(rows) == len(again.rows) == 2
