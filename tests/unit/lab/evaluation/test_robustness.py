"""Robustness measured on made images: what is trained, what is asked, and what strong levels do."""

import numpy as np
import pytest

from privedge_lab import datasets
from privedge_lab.evaluation import cohort, identify_baselines, robustness
from privedge_lab.evaluation.disturbances import REFERENCE, Disturbance
from privedge_lab.evaluation.identify_parts import Choice, deal
from privedge_lab.evaluation.robustness import Request
from privedge_lab.results.rows.robustness import RobustnessRow
from privedge_lab.results.store import Results, means_by

OWNERS, EACH, SIDE = 4, 20, 32
STRONG = [Disturbance("blur", 8), Disturbance("noise", 200)]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Stripes, of another direction for each owner, at places of their own."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    images, labels = [], []
    for owner in range(OWNERS):
        angle = np.pi * owner / OWNERS
        for shift in rng.uniform(0, 2 * np.pi, EACH):
            wave = np.sin(np.cos(angle) * x + np.sin(angle) * y + shift)
            images.append(128 + 60 * wave + rng.normal(0, 10, (SIDE, SIDE)))
            labels.append(owner)
    path = tmp_path_factory.mktemp("stripes") / "stripes.npz"
    np.savez(path, images=np.clip(images, 0, 255).astype(np.uint8), labels=np.array(labels))
    return path


@pytest.fixture(scope="module")
def data(file):
    return datasets.read(file)


def quiet(*_: object) -> None:
    """Nobody watches."""


def request_of(file, disturbances, **changes) -> Request:
    changes = {"choice": Choice(0), "components": 4, "baselines": ()} | changes
    return Request(file, disturbances=tuple(disturbances), **changes)


@pytest.fixture(scope="module")
def rows(file, data):
    request = request_of(file, STRONG, baselines=("knn",))
    return list(robustness.measure(request, data, [0], Results("x", {}), quiet))


def test_every_level_has_a_row_and_clean_images_come_first(rows):
    assert [(row.disturbance, row.level) for row in rows] == [
        *(("none", 0), ("blur", 8), ("noise", 200))
    ]
    for row in rows:
        assert row.seed == 0 and row.owners == OWNERS and row.asked == OWNERS * EACH / 5


def test_strong_disturbance_takes_away_what_models_go_by(rows):
    clean, blurred, noisy = rows
    assert clean.macro_recall > 0.9 and clean.auroc_known > 0.8
    assert max(blurred.macro_recall, noisy.macro_recall) < clean.macro_recall - 0.2
    for row in rows:
        assert 0 <= row.baselines["knn"].macro_recall <= 1


def test_models_and_baselines_train_on_clean_images_and_are_asked_the_same(file, data, monkeypatch):
    seen: dict[str, list] = {"models": [], "knn": [], "train": []}
    asked, knn = cohort.asked, identify_baselines.knn

    def spied_asked(rans, parts, files):
        seen["models"].append(parts.images)
        return asked(rans, parts, files)

    def spied_knn(parts, shape):
        seen["train"].append(parts.train)
        answers = knn(parts, shape)

        def spied_answers(images):
            seen["knn"].append(images)
            return answers(images)

        return spied_answers

    monkeypatch.setattr(cohort, "asked", spied_asked)
    monkeypatch.setattr(identify_baselines, "knn", spied_knn)
    request = request_of(file, STRONG, baselines=("knn",))
    list(robustness.measure(request, data, [3], Results("x", {}), quiet))
    clean = deal(data, Choice(3))
    assert len(seen["train"]) == 1
    assert all(map(np.array_equal, seen["train"][0], clean.train))
    expected = [each.applied(clean.images, 3) for each in (REFERENCE, *STRONG)]
    assert np.array_equal(seen["models"], expected) and np.array_equal(seen["knn"], expected)


def test_resuming_trains_only_for_levels_that_are_missing(file, data, tmp_path, monkeypatch):
    path, one, trained = tmp_path / "rows.json", request_of(file, STRONG[:1]), []
    train = cohort.train_models

    def counted(*arguments):
        trained.append(arguments)
        return train(*arguments)

    monkeypatch.setattr(cohort, "train_models", counted)
    list(robustness.measure(one, data, [0], Results("x", {}, path), quiet))
    again = Results("x", {}, path, resume=True)
    rows = list(robustness.measure(one, data, [0], again, quiet))
    assert len(trained) == 1 and len(rows) == 2
    rows = list(robustness.measure(request_of(file, STRONG), data, [0], again, quiet))
    assert len(trained) == 2 and len(rows) == len(again.rows) == 3


def test_means_are_of_the_seeds_of_one_level():
    rows = [
        RobustnessRow.read(
            {"seed": seed, "disturbance": "blur", "level": level, "macro_recall": seed + level}
        )
        for seed in (0, 1)
        for level in (1, 2)
    ]
    means = means_by(("disturbance", "level"), rows)
    assert [(mean["level"], mean["macro_recall"]) for mean in means] == [(1, 1.5), (2, 2.5)]
