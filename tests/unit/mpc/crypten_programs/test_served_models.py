"""A served model answers as its graph does in the clear, and only with what its outputs allow."""

import numpy as np
import pytest

from parties.mpc.tuples import TupleKind
from tests.unit.mpc.crypten_programs.serving import (
    ALL,
    DEEP,
    KINDS,
    LENET,
    LOGISTIC,
    SIGNALS,
    asked,
    clear,
    drawn,
    kind_of,
    scores,
    spec_of,
)
from tests.unit.mpc.pair import fresh_masks

UNIT = 2.0**-16
SCORES, LABEL = {"kind": "scores"}, {"kind": "label"}


def inputs(spec, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, *spec.input))


@pytest.mark.parametrize("graph", [LOGISTIC, ALL, LENET, SIGNALS], ids=lambda graph: graph["name"])
def test_scores_are_those_in_the_clear(graph: dict) -> None:
    spec = spec_of(graph, SCORES)
    parameters, x = drawn(spec, 7), inputs(spec, 3)
    found = scores(asked(spec, parameters, x))
    assert found.shape == (3, spec.width)
    assert np.abs(found - clear(spec, parameters, x)).max() < 40 * UNIT


def test_a_label_is_a_one_hot_and_nothing_else_leaves() -> None:
    spec = spec_of(LOGISTIC, LABEL)
    parameters, x = drawn(spec, 7), inputs(spec, 20)
    opened = asked(spec, parameters, x).value
    assert set(np.unique(opened)) == {0, 1}
    assert (opened.argmax(1) == clear(spec, parameters, x).argmax(1)).all()
    assert (opened.sum(1) == 1).all()


def test_one_score_alone_has_two_labels() -> None:
    spec = spec_of({**LOGISTIC, "layers": [{"kind": "dense", "features": 1}]}, LABEL)
    parameters, x = drawn(spec, 3), inputs(spec, 12)
    parameters["0.bias"][:] = 0
    opened = asked(spec, parameters, x).value
    above = clear(spec, parameters, x)[:, 0] > 0
    assert 0 < above.sum() < 12
    assert (opened == np.stack([~above, above], 1)).all()


def test_rounded_scores_are_the_nearest_multiples_each_time() -> None:
    """Truncation to within one unit would show the bits that it cuts, as a mean of many answers."""
    spec = spec_of(LOGISTIC, {"kind": "rounded", "bits": 3})
    parameters, x = drawn(spec, 5), inputs(spec, 16)
    expected = np.floor(clear(spec, parameters, x) * 8 + 0.5)
    # Scores near the middle may be rounded to either side, by the unit that they are off by.
    sure = np.abs(clear(spec, parameters, x) * 8 - expected) < 0.49
    first, second = (asked(spec, parameters, x).value.view(np.int64) for _ in range(2))
    assert sure.mean() > 0.9
    assert (first == expected)[sure].all()
    assert (second == expected)[sure].all()


def test_words_out_of_range_stay_below_192_whatever_is_sent() -> None:
    spec = spec_of({**LOGISTIC, "layers": [{"kind": "relu"}, {"kind": "relu"}]}, SCORES)
    sent = np.random.default_rng(2).integers(0, 1 << 63, (4, 20), dtype=np.uint64)
    assert scores(asked(spec, {}, sent, words=sent)).max() < 192
    assert scores(asked(spec, {}, sent, words=sent)).min() >= -1 * UNIT


def used(sessions) -> list[TupleKind]:
    return sessions[0].tuples.used


def test_later_runs_open_no_weight_and_use_the_same_tuples() -> None:
    spec = spec_of(ALL, LABEL)
    parameters, masked = drawn(spec, 7), fresh_masks()
    first, second, third = (
        asked(spec, parameters, inputs(spec, 1, seed), masked=masked) for seed in (1, 2, 3)
    )
    assert first.sessions[0].rounds > second.sessions[0].rounds == third.sessions[0].rounds
    assert used(second.sessions) == used(third.sessions)


@pytest.mark.parametrize("exact", [False, True])
def test_both_roundings(exact: bool) -> None:
    spec = spec_of(LENET, SCORES)
    parameters, x = drawn(spec, 7), inputs(spec, 2)
    found = scores(asked(spec, parameters, x, exact=exact))
    assert np.abs(found - clear(spec, parameters, x)).max() < 20 * UNIT


@pytest.mark.parametrize("graph", [LOGISTIC, DEEP, ALL], ids=lambda graph: graph["name"])
@pytest.mark.parametrize("outputs", [SCORES, {"kind": "rounded", "bits": 12}], ids=str)
def test_equal_questions_have_equal_scores_however_many_layers_there_are(graph, outputs) -> None:
    """Else the mean of many answers would tell bits of a score, or of what lies between the layers,
    that nobody is given.
    """
    spec = spec_of(graph, outputs)
    parameters, x = drawn(spec, 7), np.repeat(inputs(spec, 1), 16, 0)
    if graph is DEEP:  # each unit of the layer before is a hundred units of a score
        parameters["2.weight"] = 100 * parameters["2.weight"]
    assert len(np.unique(asked(spec, parameters, x).value, axis=0)) == 1


@pytest.mark.parametrize("scores", [1, 5, 70])
def test_a_label_of_words_out_of_range_is_one_or_none(scores: int) -> None:
    """What the layers make of them leaves the ring, and a label still tells no more than a label:
    at most one of 70 scores, which are compared in groups, overtakes all others.
    """
    layers = [*DEEP["layers"][:1], *[{"kind": "square"}] * 3, {"kind": "dense", "features": scores}]
    spec = spec_of({**DEEP, "layers": layers}, LABEL)
    parameters = {name: 60 * words for name, words in drawn(spec, 3).items()}
    sent = np.random.default_rng(2).integers(0, 1 << 63, (64, 4), dtype=np.uint64)
    opened = asked(spec, parameters, sent, words=sent).value
    assert set(np.unique(opened)) == {0, 1} and opened.sum(1).max() == 1


# Units that scores may be off by. Inputs and parameters are rounded to within half a unit, and a
# layer of weights adds that up over all of its terms.
BOUNDS = [
    pytest.param(LOGISTIC, 8, id="logistic"),
    pytest.param(LENET, 8, id="lenet"),
    pytest.param(SIGNALS, 8, id="signals"),
    pytest.param(ALL, 40, id="all"),
    *(pytest.param(kind_of(name), 8, id=name) for name in KINDS),
]


@pytest.mark.slow
@pytest.mark.parametrize(("graph", "units"), BOUNDS)
def test_a_thousand_inputs_are_answered_as_in_the_clear(graph: dict, units: int) -> None:
    spec, masked, worst = spec_of(graph, SCORES), fresh_masks(), 0.0
    parameters = drawn(spec, 7)
    for seed in range(20):
        x = inputs(spec, 50, seed)
        found = scores(asked(spec, parameters, x, masked=masked))
        worst = max(worst, float(np.abs(found - clear(spec, parameters, x)).max()))
    assert worst < units * UNIT
