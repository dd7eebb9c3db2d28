"""The fused comparison and ReLU: right to one unit, in four rounds; every opening is uniform."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.fused import compare
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.fused.tuples import NIBBLES, Comparison, FusedRelu
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.pair import Outcome, View, as_words, run

BOUND = 2**48
F = 16
EDGES = [0, 1, -1, 2**F, -(2**F), 2**F - 1, -(2**F) - 1, BOUND - 1, 1 - BOUND, -BOUND, 2**47]
DIGEST_BYTES = 16  # in every exchange


def words(values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64).view(np.uint64)


def relu(values: object) -> Outcome:
    return run(
        lambda engine, x: engine.relu_and_value(x)[0], words(values), engine_type=FusedEngine
    )


def negative(values: object, bits: int = 63) -> Outcome:
    def program(engine, x):
        return engine.share(compare.negative(engine.session, x.share, bits=bits))

    return run(program, words(values), engine_type=FusedEngine)


def excess(outcome: Outcome, values: object) -> set[int]:
    """By how many units results are above the true ones."""
    exact = np.maximum(np.array(values) >> F, 0)
    return set(np.unique(outcome.value.view(np.int64) - exact).tolist())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-BOUND, BOUND - 1), min_size=1, max_size=150))
def test_relu_is_the_truncated_positive_part_or_one_unit_more(values):
    assert excess(relu(values), values) <= {0, 1}


@pytest.mark.parametrize("copies", [1, 6, 7, 100])
def test_relu_of_the_edges(copies):
    assert excess(relu(EDGES * copies), EDGES * copies) <= {0, 1}


def test_relu_of_a_negative_value_is_exactly_zero():
    rng = np.random.default_rng(1)
    assert not relu(rng.integers(-BOUND, 0, size=10_000)).value.any()


@pytest.mark.parametrize("bits", [1, 8, 20, 47])
def test_relu_shifts_by_any_number_of_bits_and_gives_the_value_itself_too(bits):
    values = np.random.default_rng(2).integers(-BOUND, BOUND, size=(3, 500))

    def program(engine, x):
        pair = compare.rectified(engine.session, x.share, bits=bits)
        return engine.share(torch.stack(pair))

    got = run(program, words(values), engine_type=FusedEngine).value.view(np.int64)
    assert set(np.unique(got[0] - np.maximum(values >> bits, 0))) <= {0, 1}
    assert set(np.unique(got[1] - (values >> bits))) <= {0, 1}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=100))
def test_negative_is_exact_for_every_ring_element(values):
    assert (negative(values).value.view(np.int64) == (np.array(values) < 0)).all()


@pytest.mark.parametrize("bits", NIBBLES)
def test_negative_is_exact_up_to_the_bound_it_is_asked_for(bits):
    bound = 2**bits
    values = [0, 1, -1, bound - 1, -bound, 1 - bound, bound // 2, -bound // 2, bound - 2]
    values += np.random.default_rng(bits).integers(-bound, bound - 1, size=5000).tolist()
    assert (negative(values, bits).value.view(np.int64) == (np.array(values) < 0)).all()


@pytest.mark.parametrize("count", [1, 64, 65, 5000])
def test_relu_and_comparison_take_four_rounds_whatever_the_batch(count):
    values = [5] * count
    for outcome in (relu(values), negative(values), negative(values, 48)):
        assert [session.rounds for session in outcome.sessions] == [4] * 2


def test_a_comparison_of_small_values_takes_a_round_less():
    assert negative([5, -5], 16).sessions[0].rounds == 3


@pytest.mark.parametrize(
    ("kernel", "limit"), [(relu, 12), (negative, 12.5), (lambda x: negative(x, 48), 12)]
)
def test_bytes_online_and_from_the_dealer(kernel, limit):
    count = 6400
    outcome = kernel([5] * count)
    for session in outcome.sessions:
        assert session.bytes_sent - DIGEST_BYTES * session.rounds <= limit * count


@pytest.mark.parametrize(
    ("kind", "limit"), [(FusedRelu((6400,), 16), 72), (Comparison((6400,), 63), 51)]
)
def test_bytes_from_the_dealer(kind, limit):
    assert 8 * sum(np.prod(shape) for shape in kind.derived) <= limit * 6400


def assert_uniform(parts: list[torch.Tensor]) -> None:
    noise = as_words(torch.cat([part.reshape(-1) for part in parts]))
    for shift in range(0, 64, 8):
        assert abs(chi_square(noise, shift)) < SIGMAS


def openings(view: View) -> list[torch.Tensor]:
    """Additive is the first opening of a comparison only: the others are XOR."""
    return [
        mine + theirs if place == 0 else mine.reshape(-1) ^ theirs
        for place, (mine, theirs) in enumerate(zip(view.sent, view.received, strict=True))
    ]


@pytest.mark.parametrize("value", [0, 1, -1, BOUND - 1])
@pytest.mark.parametrize("kernel", [relu, negative])
def test_each_round_is_uniform_whatever_the_value(kernel, value):
    outcome = kernel([value] * 400_000)
    for view in outcome.views:
        for received, opened in zip(view.received, openings(view), strict=True):
            assert_uniform([received])
            assert_uniform([opened])


@pytest.mark.parametrize(
    "method",
    [lambda engine, x: engine.relu_and_value(x)[0], lambda engine, x: engine.negative(x)],
    ids=["relu", "negative"],
)
def test_bits_that_stand_for_no_element_are_uniform_too(method):
    def program(engine, x):
        return engine.joined([method(engine, x) for _ in range(300)], 0)

    view = run(program, words([3]), engine_type=FusedEngine).views[1]
    packed = [i for i in range(len(view.sent)) if i % 4]
    assert_uniform([view.received[i] for i in packed])
    assert_uniform([view.sent[i].reshape(-1) ^ view.received[i] for i in packed])
