"""Which answers of the plaintext model rounding may turn into others."""

import numpy as np
import pytest
import torch

from privedge.ran import features
from privedge.ran.presets import preset
from privedge.user.checkpoint import Ran
from privedge_lab.bench import made
from privedge_lab.reference.model import PlainModel, Scores, ties

SPEC = preset("subspace32", height=32, width=32, channels=1, components=4)
FAR = 1e9


@pytest.mark.parametrize(
    ("least", "greatest", "thresholds", "margin", "tie"),
    [
        pytest.param([1, 5, 9], [2, 6, 10], [FAR] * 3, 1, False, id="far apart"),
        pytest.param([1, 2, 9], [3, 6, 10], [FAR] * 3, 1, True, id="the best two in reach"),
        pytest.param([1, 3, 9], [3, 6, 10], [FAR] * 3, 1, True, id="just in reach"),
        pytest.param([1, 8, 9], [2, 9, 10], [FAR] * 3, 1, False, id="only the others in reach"),
        pytest.param([1, 3, 9], [2, 6, 10], [FAR] * 3, 0.5, True, id="the margin in reach"),
        pytest.param([4, 5, 9], [4.1, 6, 10], [FAR] * 3, 0.5, False, id="none by the margin"),
        pytest.param([1, 5, 9], [2, 6, 10], [1.5, FAR, FAR], 1, True, id="a threshold in reach"),
        pytest.param([1, 5, 9], [2, 6, 10], [0.5, FAR, FAR], 1, False, id="above the threshold"),
        pytest.param([1, 5, 9], [2, 6, 10], [FAR, 5.5, FAR], 1, False, id="another's threshold"),
        pytest.param([1, 1, 9], [2, 2, 10], [0.5, 0.5, FAR], 1, False, id="tied and both too far"),
        pytest.param([1], [2], [3], 1, False, id="alone and near enough"),
        pytest.param([1], [2], [1.5], 1, True, id="alone, a threshold in reach"),
    ],
)
def test_a_tie_is_what_rounding_may_decide_otherwise(least, greatest, thresholds, margin, tie):
    low, high, limits = (torch.tensor(each).double() for each in (least, greatest, thresholds))
    assert ties(Scores(low.unsqueeze(0), high.unsqueeze(0), limits), margin).tolist() == [tie]


@pytest.mark.parametrize(
    ("least", "greatest", "margin", "tie"),
    [
        pytest.param([1, 5, 9], [2, 6, 10], 0.5, False, id="below half the mean at its least"),
        pytest.param([3, 5, 9], [4, 6, 10], 0.5, True, id="half the mean in reach"),
        pytest.param([4, 5, 6], [4.5, 5.5, 6.5], 0.5, False, id="above half the mean"),
        pytest.param([1, 1.5, 90], [2, 2, 99], 0.9, True, id="the best two in reach"),
        pytest.param([1, 5, 9], [2, 6, 10], 1, False, id="a margin of one"),
    ],
)
def test_a_tie_by_the_mean(least, greatest, margin, tie):
    low, high = (torch.tensor([each]).double() * 2**32 for each in (least, greatest))
    limits = torch.full((3,), FAR * 2**32).double()
    assert ties(Scores(low, high, limits), margin, 1.0).tolist() == [tie]


def of(model, owner, threshold=None):
    changed = {} if threshold is None else {"threshold": np.float32([threshold])}
    return Ran(SPEC, owner, {**model.parameters, **changed})


def asked(models, margin=1.0, mean_share=0.0):
    image = features.extract(SPEC, made.images(SPEC, 1, seed=1))
    model = PlainModel(models, margin, mean_share)
    (answer,) = model.answers(image)
    assert model.owners(image) == [answer.owner]
    return answer.owner, answer.tie


def test_owners_apart_are_no_tie_and_owners_with_one_model_are():
    best, other = made.models(SPEC, 2, seed=1)
    owner, tie = asked([of(best, "ana"), of(other, "bob")])
    assert owner in ("ana", "bob") and not tie
    assert asked([of(best, "ana"), of(best, "bob"), of(other, "eve")])[1] == (owner == "ana")
    assert asked([of(best, "ana"), of(best, "bob")]) == (None, True)


def test_the_mean_makes_an_owner_known_whom_the_second_best_does_not():
    ana, _, eve = made.models(SPEC, 3, seed=1)
    # Bob's model is nearly ana's; eve's is far from the image.
    near = {**ana.parameters, "0.mean": ana.parameters["0.mean"] + np.float32(0.01)}
    far = {**eve.parameters, "0.mean": eve.parameters["0.mean"] + np.float32(9)}
    models = [of(ana, "ana"), Ran(SPEC, "bob", near), Ran(SPEC, "eve", far)]
    assert asked(models, margin=0.9) == (None, False)
    assert asked(models, margin=0.9, mean_share=0.5)[0] in ("ana", "bob")


def test_a_threshold_at_the_dissimilarity_is_a_tie():
    (model,) = made.models(SPEC, 1, seed=1)
    image = features.extract(SPEC, made.images(SPEC, 1, seed=1))
    gap = image.reshape(-1) - model.parameters["0.mean"]
    at = float(gap @ gap - np.square(model.parameters["0.basis"] @ gap).sum())
    assert asked([of(model, "ana", at + 0.1)]) == ("ana", False)
    assert asked([of(model, "ana", at - 0.1)]) == (None, False)
    # In steps of 2^-16; where the answer turns, the next dissimilarity is as near as can be.
    steps = [(round(at * 2**16) + step) / 2**16 for step in range(-20, 20)]
    answers = [asked([of(model, "ana", step)]) for step in steps]
    turn = [owner for owner, _ in answers].index("ana")
    assert answers[turn - 1] == (None, True) or answers[turn] == ("ana", True)
