"""What a client sends to a served model, and how it reads what comes back."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from privedge.client.cohort import Cohort
from privedge.client.predictions import Prediction, read, require_no_canaries
from privedge.errors import ConfigError, ImageError, IntegrityError
from privedge.graph.spec import ModelSpec
from privedge.ran.model_inputs import inputs_of


def spec(outputs: dict, features: int = 3, labels: tuple[str, ...] = ()) -> ModelSpec:
    layers = [{"kind": "dense", "features": features}]
    described = {"kind": "model", "name": "net", "input": [4], "layers": layers}
    return ModelSpec.from_json(json.dumps({**described, "outputs": outputs, "labels": labels}))


LABEL = spec({"kind": "label"}, labels=("a", "b", "c"))
SCORES = spec({"kind": "scores"})


def words(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.int64).view(np.uint64)


def test_labels_have_names():
    found = read(words([0, 1, 0], [0, 0, 1]), LABEL, 2)
    assert found == (Prediction(1, "b"), Prediction(2, "c"))


@pytest.mark.parametrize("row", [[0, 0, 0], [1, 1, 0], [2, 0, 0], [-1, 1, 1]])
def test_a_row_that_is_no_label_is_no_answer(row):
    with pytest.raises(IntegrityError, match="do not add up"):
        read(words(row), LABEL, 1)


def test_scores_are_numbers_with_a_label():
    (found,) = read(words([1 << 16, -(1 << 15), 1 << 17]), SCORES, 1)
    assert found == Prediction(2, None, (1.0, -0.5, 2.0))


def test_one_score_alone_has_two_labels():
    one = spec({"kind": "rounded", "bits": 2}, 1, ("no", "yes"))
    assert read(words([-1], [0], [6]), one, 3) == (
        Prediction(0, "no", (-0.25,)),
        Prediction(0, "no", (0.0,)),
        Prediction(1, "yes", (1.5,)),
    )


def test_shares_that_do_not_belong_together_are_no_scores():
    with pytest.raises(IntegrityError, match="do not add up"):
        read(words([1 << 40, 0, 0]), SCORES, 1)
    with pytest.raises(IntegrityError, match="instead of"):
        read(words([0, 0]), SCORES, 1)


def test_nobody_expects_a_model_that_is_no_ran_to_answer_unknown():
    assert Cohort("net", LABEL, 1.0, ("ana",), "0" * 64, 64).never_unknown == ""


def test_inputs_are_floats_of_the_graphs_shape(tmp_path):
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.savez(tmp_path / "x.npz", inputs=x, more=x)
    assert np.array_equal(inputs_of(x, LABEL), x)
    assert np.array_equal(inputs_of(tmp_path / "x.npz", LABEL), x)
    assert inputs_of(x[0], LABEL).shape == (1, 4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((2, 5)), "must have the shape"),
        (np.zeros((0, 4)), "must have the shape"),
        (np.zeros((2, 4), np.int64), "must be floats"),
        (np.full((1, 4), np.nan), "not finite"),
        (np.array([object()]), "give one npz"),
        ([["no"]], "give one npz"),
        ([Path("a.png"), Path("b.png")], "give one npz"),
        ([[1.0, 2.0], [3.0]], "give one npz"),
        (torch.ones(1, 4, requires_grad=True), "give one npz"),
        (None, "give one npz"),
    ],
    ids=["shape", "none", "integers", "nan", "objects", "text", "paths", "ragged", "graph", "nil"],
)
def test_other_inputs_are_refused(given, said):
    with pytest.raises(ImageError, match=said):
        inputs_of(given, LABEL)


def test_a_file_without_inputs_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", vectors=np.zeros((1, 4)))
    with pytest.raises(ImageError, match="has no array called inputs"):
        inputs_of(str(tmp_path / "x.npz"), LABEL)


def test_canaries_are_for_rans():
    require_no_canaries(None)
    require_no_canaries("canaries:0")
    with pytest.raises(ConfigError, match="set integrity = none"):
        require_no_canaries("canaries:3")
