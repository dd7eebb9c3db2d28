"""Rows of `attack extraction`, in the clear and against real parties."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from privedge.errors import ImageError
from privedge.ran.public_files import PublicFiles
from privedge_lab.datasets import Labelled
from privedge_lab.demo import digits
from privedge_lab.evaluation.extraction import ExtractionSettings, measure
from privedge_lab.results.store import Results
from tests import onnx_files


def quiet(*_: object) -> None:
    """Show nothing."""


@pytest.fixture(scope="module")
def vectors():
    given = load_digits()
    return Labelled(torch.from_numpy(given.data / 16), torch.from_numpy(given.target).long())


def chosen(**changes):
    return ExtractionSettings("vector", 2, times=(1, 8), fresh=200, **changes)


def test_more_labels_agree_better_and_take_longer_under_the_budget(vectors):
    results = Results("extraction", {})
    few, many = measure(chosen(), vectors, results, quiet)
    assert (few.preset, few.values, few.components) == ("vector", 64, 2)
    assert (few.service, few.budget) == ("plaintext", "none")
    assert few.labels == 3 * 64
    assert few.budget_days == 30
    assert many.labels >= 8 * few.labels
    assert many.budget_days == 30 * many.labels / few.labels
    assert few.agreement < many.agreement
    assert many.agreement > 0.8
    again = measure(chosen(), vectors, results, lambda *_: pytest.fail("measured again"))
    assert list(again) == []


def test_pictures_are_asked_about_as_features():
    given = load_digits()
    images = np.rint(given.images * 255 / 16)[:, None] / 255
    data = Labelled(torch.from_numpy(images).float(), torch.from_numpy(given.target).long())
    settings = ExtractionSettings("subspace32", 4, times=(0.2,), fresh=100)
    (row,) = measure(settings, data, Results("extraction", {}), quiet)
    assert (row.values, row.labels) == (512, 512)
    assert row.budget_days == 6


@pytest.mark.mpc
def test_w45_real_parties_stop_the_attack_where_they_have_a_budget(vectors):
    rows = list(measure(chosen(), vectors, Results("extraction", {}), quiet, deployed=True))
    free, stopped = ([row for row in rows if row.budget == each] for each in ("none", "safe"))
    assert next(row.labels for row in free) == 3 * 64
    # 20 within an hour.
    assert [row.labels for row in stopped] == [20]
    assert stopped[0].agreement < free[-1].agreement


def test_what_cannot_be_attacked_is_refused(vectors):
    with pytest.raises(ImageError, match="nobody's"):
        list(measure(chosen(owners=10), vectors, Results("extraction", {}), quiet))
    pictures = Labelled(torch.zeros(20, 1, 8, 8), torch.arange(20) % 4)
    settings = ExtractionSettings("subspace32", 2)
    with pytest.raises(ImageError, match="vectors"):
        list(measure(settings, pictures, Results("extraction", {}), quiet, deployed=True))


def test_models_behind_an_encoder_are_copied_too(tmp_path):
    encoder = onnx_files.convolutional(tmp_path / "encoder.onnx", values=12)
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:40] for digit in range(6)])
    own = Labelled(torch.from_numpy(images)[:, None] / 255, torch.arange(6).repeat_interleave(40))
    files = PublicFiles.at(encoder=encoder)
    settings = ExtractionSettings("subspace-encoder", 2, times=(4,), fresh=80, files=files)
    (row,) = measure(settings, own, Results("extraction", {}), quiet)
    assert (row.preset, row.values, row.labels) == ("subspace-encoder", 12, 4 * 3 * 12)
    # Two names and "unknown": a guess that knows nothing is right for half of them at most.
    assert row.agreement > 0.5
