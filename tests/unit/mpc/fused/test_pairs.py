"""Narrow comparisons, and pairs: right against integers at every edge, and uniform where opened."""

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.fused.packing import words_for
from parties.mpc.fused.pairs import MAX_CARRIED, Pair
from parties.mpc.fused.tuples import NIBBLES, Comparison
from parties.mpc.widening import unpacked
from privedge.errors import ShareError
from privedge.sharing.ring import width
from privedge_lab.reference.clear import ClearEngine
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.fused.test_compare import DIGEST_BYTES, assert_uniform, words
from tests.unit.mpc.pair import Outcome, as_words, run

NARROW = [bits for bits in NIBBLES if bits < 63]
# Of all widths together, a million.
EACH = 170_000


def negative(values: np.ndarray, bits: int) -> Outcome:
    return run(
        lambda engine, x: engine.negative(x, bits=bits), words(values), engine_type=FusedEngine
    )


def edges(bits: int) -> np.ndarray:
    """Around 0, both ends, every power of two and the borders of nibbles."""
    powers = np.int64(1) << np.arange(bits, dtype=np.int64)
    near = np.concatenate([powers + shift for shift in (-1, 0, 1)])
    found = np.unique(np.concatenate([near, -near, [0, -1, -(2**bits), 2**bits - 1]]))
    return found[(found >= -(2**bits)) & (found < 2**bits)]


@pytest.mark.parametrize("bits", NIBBLES)
def test_no_comparison_of_a_million_is_wrong(bits):
    drawn = np.random.default_rng(bits).integers(-(2**bits), 2**bits - 1, EACH)
    values = np.concatenate([edges(bits), drawn])
    assert ((negative(values, bits).value == 1) == (values < 0)).all()


@pytest.mark.parametrize("bits", NARROW)
def test_out_of_range_the_result_is_a_bit_and_that_of_the_low_bits(bits):
    values = np.random.default_rng(bits).integers(-(2**63), 2**63 - 1, 5000)
    found = negative(values, bits).value
    assert (found == (values.view(np.uint64) >> np.uint64(bits) & np.uint64(1))).all()


@pytest.mark.parametrize("bits", NIBBLES)
def test_a_comparison_sends_what_its_tuple_says(bits):
    count = 6400
    kind = Comparison((count,), bits)
    packed = 8 * (1 + sum(level.mask_rows for level in kind.levels)) * words_for(count)
    for session in negative(np.full(count, 5), bits).sessions:
        assert session.tuples.used == [kind]
        sent = session.bytes_sent - DIGEST_BYTES * session.rounds
        assert sent == count * width(bits + 1) + packed


@pytest.mark.parametrize("bits", NARROW)
@pytest.mark.parametrize("value", [0, -1, 5])
def test_what_a_narrow_comparison_opens_is_uniform_in_its_bits(bits, value):
    count = 100_000
    for view in negative(np.full(count, value), bits).views:
        halves = [
            unpacked(part.reshape(-1), bits + 1, count) for part in (view.sent[0], view.received[0])
        ]
        for half in (*halves, sum(halves)):
            for shift in range(0, bits + 1 - 7, 8):
                assert abs(chi_square(as_words(half), shift)) < SIGMAS
        for mine, theirs in zip(view.sent[1:], view.received[1:], strict=True):
            assert_uniform([theirs.reshape(-1)])
            assert_uniform([mine.reshape(-1) ^ theirs.reshape(-1)])


# --- Pairs ----------------------------------------------------------------------------------------


def lesser(engine, first, second, bits):
    """All three results side by side."""
    row, greater, later = engine.lesser(first, second, bits=bits)
    return engine.joined([row, greater.unsqueeze(1), later.unsqueeze(1)], 1)


def found(first: np.ndarray, second: np.ndarray, bits: int, engine_type=FusedEngine) -> Outcome:
    def program(engine, a, b):
        return lesser(engine, a, b, bits)

    return run(program, words(first), words(second), engine_type=engine_type)


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    bits, carried = draw(st.sampled_from(sorted(NIBBLES))), draw(st.integers(0, 3))
    near = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    value = st.one_of(near, st.sampled_from([0, 1, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1]))
    more = st.integers(-(2**63), 2**63 - 1)
    row = st.tuples(value, *[more] * carried)
    first = draw(st.lists(row, min_size=1, max_size=80))
    second = [draw(st.one_of(row, st.just(one))) for one in first[:5]]
    second += [draw(row) for _ in first[5:]]
    return np.array(first), np.array(second), bits


@settings(max_examples=40, deadline=None)
@given(rows())
def test_a_pair_gives_the_lesser_with_what_belongs_to_it_and_the_greater(given):
    first, second, bits = given
    got = found(*given).value.view(np.int64)
    later = second[:, 0] < first[:, 0]
    expected = np.where(later[:, None], second, first)
    assert (got[:, :-2] == expected).all()
    assert (got[:, -2] == np.maximum(first[:, 0], second[:, 0])).all()
    assert (got[:, -1] == later).all()
    clear = lesser(ClearEngine(), torch.tensor(first), torch.tensor(second), bits)
    assert (clear.numpy() == got).all()


def test_pairs_are_the_same_by_crypten_s_protocols():
    rng = np.random.default_rng(3)
    first, second = rng.integers(-(2**30), 2**30, (2, 50, 3))
    got = found(first, second, 31, CryptenEngine).value
    assert (got == found(first, second, 31).value).all()


def test_no_pair_of_many_is_wrong():
    rng = np.random.default_rng(4)
    first, second = rng.integers(-(2**38), 2**38, (2, EACH, 2))
    got = found(first, second, 39).value.view(np.int64)
    later = second[:, 0] < first[:, 0]
    assert (got[:, :2] == np.where(later[:, None], second, first)).all()
    assert (got[:, 3] == later).all()


def test_out_of_range_one_of_the_two_is_chosen_with_what_belongs_to_it():
    rng = np.random.default_rng(5)
    first, second = rng.integers(-(2**63), 2**63 - 1, (2, 5000, 3))
    got = found(first, second, 31).value.view(np.int64)
    later = got[:, 4] == 1
    assert set(np.unique(got[:, 4])) == {0, 1}
    assert (got[:, :3] == np.where(later[:, None], second, first)).all()
    assert (got[:, 3] == np.where(later, first[:, 0], second[:, 0])).all()


@cache
def of_equal_pairs(values: tuple[int, int]) -> Outcome:
    return found(*np.repeat(np.array(values), 60_000).reshape(2, 30_000, 2), 39)


@pytest.mark.parametrize("values", [(0, 0), (7, -9)])
def test_what_a_pair_opens_is_uniform(values):
    for view in of_equal_pairs(values).views:
        for place, (mine, theirs) in enumerate(zip(view.sent, view.received, strict=True)):
            mine, theirs = mine.reshape(-1), theirs.reshape(-1)
            assert_uniform([theirs])
            assert_uniform([mine + theirs if place == 0 else mine ^ theirs])


def test_a_pair_takes_the_rounds_of_a_comparison_and_sends_what_its_tuple_says():
    count, carried = 6400, 2
    kind = Pair((count,), 39, carried)
    packed = 8 * (1 + sum(level.mask_rows for level in kind.levels)) * words_for(count)
    values = np.zeros((count, 1 + carried), np.int64)
    for session in found(values, values, 39).sessions:
        assert (session.tuples.used, session.rounds) == ([kind], 4)
        sent = session.bytes_sent - DIGEST_BYTES * session.rounds
        assert sent == 8 * (1 + carried) * count + packed


@pytest.mark.parametrize("of", [(40, 0), (39, -1), (39, MAX_CARRIED + 1)])
def test_a_pair_of_another_width_or_with_too_much_is_refused(of):
    with pytest.raises(ShareError):
        Pair((1,), *of)
