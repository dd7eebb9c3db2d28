"""Experiments on vectors: the same owners and figures as with pictures, or one line of refusal."""

import numpy as np
import pytest

from privedge.errors import ImageError
from privedge.ran.public_files import NO_FILES
from privedge_lab import datasets
from privedge_lab.evaluation import identify
from privedge_lab.evaluation.identify_baselines import usual
from privedge_lab.evaluation.identify_parts import Choice
from privedge_lab.results.store import Results


@pytest.fixture
def file(tmp_path):
    """Three owners, apart by more than their vectors vary."""
    draw = np.random.default_rng(0)
    centres = 5 * draw.normal(size=(3, 16))
    rows = np.concatenate([centre + draw.normal(size=(20, 16)) for centre in centres])
    np.savez(tmp_path / "own.npz", vectors=rows, labels=np.repeat(["ana", "bo", "cy"], 20))
    return tmp_path / "own.npz"


@pytest.mark.parametrize("preset", ["auto", "vector"])
def test_identify_takes_vectors_with_labels_of_text(file, preset):
    data = datasets.read(file, or_vectors=True)
    assert data.names == ("ana", "bo", "cy") and data.of_vectors
    request = identify.Request(
        file, Choice(0), preset=preset, engine="fixed", baselines=usual(data, NO_FILES)
    )
    results = Results("identify", request.settings(), None, resume=False, command="test")
    (row,) = identify.measure(request, data, [0], results, lambda *_: None)
    assert (row.preset, row.owners, row.asked, row.macro_recall) == ("vector", 3, 12, 1.0)
    assert list(row.baselines) == ["knn"]
    assert row.agreement is not None and row.agreement.fixed_plain == 1.0


def test_an_experiment_on_pictures_refuses_vectors(file):
    with pytest.raises(ImageError, match=r"own\.npz: holds vectors, but pictures are needed here"):
        datasets.read(file)


def test_identify_refuses_a_preset_of_pictures_for_vectors(file):
    data = datasets.read(file, or_vectors=True)
    request = identify.Request(data=file, choice=Choice(0), preset="subspace32")
    results = Results("identify", request.settings(), None, resume=False, command="test")
    with pytest.raises(ImageError, match="preset subspace32: takes pictures, and these are vec"):
        list(identify.measure(request, data, [0], results, lambda *_: None))
