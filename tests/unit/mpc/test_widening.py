"""Words of b bits widen to bounded ring elements, whatever words they are; in one round."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc import widening
from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.dealing import TupleShares
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.widening import Widen
from privedge.errors import ShareError
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.pair import Outcome, as_words, run

DIGEST_BYTES = 16


class Alone:
    """Party 0, in a session whose other share of everything is zero, with masks of our choice."""

    party = 0

    def __init__(self, r: torch.Tensor) -> None:
        self.tuples = self
        self._r = r

    def draw(self, kind: Widen) -> TupleShares:
        return TupleShares([self._r], kind.derive([self._r]))

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(mine)


def widened(values: object, bits: int, engine_type=FusedEngine) -> Outcome:
    words = np.array(values, dtype=np.int64).view(np.uint64)
    return run(lambda engine, x: engine.widened(x, bits=bits), words, engine_type=engine_type)


def centred(values: np.ndarray, bits: int) -> np.ndarray:
    """Modulo 2^bits, in two's complement."""
    return values << (64 - bits) >> (64 - bits)


def test_all_words_under_all_masks_of_eight_bits():
    v, r = (each.reshape(-1) for each in torch.meshgrid([torch.arange(256)] * 2, indexing="ij"))
    # What is above the eight bits of a mask makes no difference.
    for mask in (r, r - 256, r + (1 << 40)):
        wide = widening.widened(Alone(mask), v, bits=8)
        assert torch.equal(wide & 255, v)
        assert int(wide.abs().max()) < 0.75 * 256
        signed = torch.where(v < 128, v, v - 256)
        inside = signed.abs() < 64
        assert torch.equal(wide[inside], signed[inside])
        # And a result in the range is the word itself, so no second widening gives another.
        small = wide.abs() < 64
        assert torch.equal(small, inside)


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
@settings(max_examples=10, deadline=None)
@given(st.sampled_from([4, 20, 23, 24, 26, 62]), st.integers(0, 2**32 - 1))
def test_what_is_in_range_is_exact_and_all_else_is_bounded(engine_type, bits, seed):
    rng = np.random.default_rng(seed)
    inside = rng.integers(-(2 ** (bits - 2)) + 1, 2 ** (bits - 2), size=300)
    assert (widened(inside, bits, engine_type).value.view(np.int64) == inside).all()
    # Whatever the ring has room for: 64 bits, of which the upper ones do not count.
    anything = rng.integers(-(2**63), 2**63, size=300)
    wide = widened(anything, bits, engine_type).value.view(np.int64)
    assert (np.abs(wide) < 0.75 * 2**bits).all()
    assert (centred(wide, bits) == centred(anything, bits)).all()


def test_the_shape_stays_and_a_word_takes_whole_bytes_of_its_bits_in_one_round():
    for bits, width in ((24, 3), (23, 3), (26, 4), (20, 3)):
        outcome = widened([[5] * 30] * 7, bits)
        assert outcome.value.shape == (7, 30)
        for session in outcome.sessions:
            filled = -(-210 * width // 8) * 8
            assert (session.rounds, session.bytes_sent) == (1, filled + DIGEST_BYTES)


@pytest.mark.parametrize("value", [0, -1, 2**22 - 1, 2**23])
def test_what_is_received_and_what_is_opened_are_uniform(value):
    view = widened([value] * 300_000, 24).views[0]
    # 24 bits fill three bytes each, side by side.
    sent, received = (
        as_words(each).view(np.uint8).reshape(-1, 3) for each in (view.sent[0], view.received[0])
    )
    opened = (_numbers(sent) + _numbers(received)) & 0xFFFFFF
    for numbers in (_numbers(received), opened):
        for shift in (0, 8, 16):
            assert abs(chi_square(numbers, shift)) < SIGMAS


def _numbers(raw: np.ndarray) -> np.ndarray:
    return raw.astype(np.uint64) @ np.array([1, 1 << 8, 1 << 16], dtype=np.uint64)


@pytest.mark.parametrize("bits", [3, 63])
def test_other_widths_are_refused(bits):
    with pytest.raises(ShareError, match="between 4 and 62 bits"):
        Widen((3,), bits)
