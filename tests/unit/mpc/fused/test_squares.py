"""The square of a truncated value: right to one unit of the value, in one round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused import squares
from parties.mpc.fused.engine import FusedEngine
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.fused.test_exact_rounding import ExactEngine
from tests.unit.mpc.pair import Outcome, as_words, run

BOUND = 2**62
F = 16
DIGEST_BYTES = 16
EDGES = [0, 1, -1, 2**F, -(2**F), 2**F - 1, -(2**F) - 1, BOUND - 1, 1 - BOUND, -BOUND]


def squared(values: object, engine_type=FusedEngine) -> Outcome:
    words = np.array(values, dtype=np.int64).view(np.uint64)
    return run(lambda engine, x: engine.truncated_square(x), words, engine_type=engine_type)


def assert_squares(outcome: Outcome, values: object, *, units: set[int]) -> None:
    """Of the quotient, or of one that is so many units more (modulo 2^64 as everything is)."""
    low = np.array(values, dtype=np.int64) >> F
    fits = [outcome.value.view(np.int64) == (low + unit) ** 2 for unit in units]
    assert np.logical_or.reduce(fits).all()


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(-BOUND, BOUND - 1), min_size=1, max_size=80))
def test_the_square_is_that_of_the_floor_or_of_one_unit_more(engine_type, values):
    assert_squares(squared(values, engine_type), values, units={0, 1})


def test_squares_at_the_edges_and_at_the_range_bound():
    assert_squares(squared(EDGES * 50), EDGES * 50, units={0, 1})
    rng = np.random.default_rng(0)
    values = rng.integers(BOUND - 2**20, BOUND, size=300_000) * rng.choice([-1, 1], size=300_000)
    assert_squares(squared(values), values, units={0, 1})


def test_the_square_of_a_multiple_is_exact():
    values = np.random.default_rng(1).integers(-(2**31), 2**31, size=10_000) << F
    assert_squares(squared(values), values, units={0})


def test_an_exact_engine_squares_the_floor():
    values = np.random.default_rng(2).integers(-BOUND, BOUND, size=3_000)
    assert_squares(squared(values, ExactEngine), values, units={0})


@pytest.mark.parametrize("bits", [1, 20, 61])
def test_any_shift(bits):
    values = np.random.default_rng(bits).integers(-BOUND, BOUND, size=2_000)

    def program(engine, x):
        return engine.share(squares.truncated_square(engine.session, x.share, bits=bits))

    got = run(program, values.view(np.uint64), engine_type=FusedEngine).value.view(np.int64)
    low = values >> bits
    assert ((got == low**2) | (got == (low + 1) ** 2)).all()


def test_one_round_and_eight_bytes():
    outcome = squared([[5] * 30] * 20)
    assert outcome.value.shape == (20, 30)
    for session in outcome.sessions:
        assert (session.rounds, session.bytes_sent) == (1, 8 * 600 + DIGEST_BYTES)


@pytest.mark.parametrize("value", [0, -1, BOUND - 1])
def test_what_is_received_and_what_is_opened_are_uniform(value):
    view = squared([value] * 200_000).views[0]
    for words in (view.received[0], view.sent[0] + view.received[0]):
        for shift in range(0, 64, 8):
            assert abs(chi_square(as_words(words), shift)) < SIGMAS
