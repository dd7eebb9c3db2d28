"""What leaves is uniform to everybody but the parties, adds up to the result, and leaves once."""

import os

import numpy as np
import pytest
import torch

from parties.mpc.release import NONCE_BYTES, ReleaseKey, new_nonce, release
from privedge.errors import AlreadyExists, TranscriptMismatch
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.pair import as_words, run
from tests.unit.mpc.test_session import sessions

NONCES = bytes(32), bytes(range(32))


def zero(nonces=NONCES, session=b"s" * 16, name="answer", count=4) -> list[int]:
    return ReleaseKey(nonces, session).zero(name, torch.Size([count])).tolist()


def test_both_shares_change_and_their_sum_stays():
    pair, shares = sessions(), [torch.arange(6).view(2, 3), torch.full((2, 3), -9)]
    mine, theirs = (
        release(side, share, "answer") for side, share in zip(pair, shares, strict=True)
    )
    assert torch.equal(mine + theirs, shares[0] + shares[1])
    assert not (mine == shares[0]).any() and not (theirs == shares[1]).any()


def test_a_name_is_released_once_in_a_run_and_other_names_have_other_zeros():
    side, share = sessions()[0], torch.zeros(4, dtype=torch.int64)
    first = release(side, share, "answer")
    assert not (release(side, share, "telemetry") == first).any()
    with pytest.raises(AlreadyExists, match=r"^answer was released before in this run$"):
        release(side, share, "answer")
    # Nor under another shape: it would be the same words.
    with pytest.raises(AlreadyExists):
        release(side, share[:1], "answer")


def test_each_part_of_the_key_changes_every_word():
    other = bytes(31) + b"\1"
    made = [
        zero(),
        zero(nonces=(other, NONCES[1])),
        zero(nonces=(NONCES[0], other)),
        zero(nonces=NONCES[::-1]),
        zero(session=b"t" * 16),
        zero(name="verify"),
    ]
    assert len({word for words in made for word in words}) == 4 * len(made)
    assert zero() == made[0]


@pytest.mark.parametrize("nonce", [b"", bytes(31), bytes(33)])
def test_a_worker_that_sends_no_nonce_gets_no_run(nonce):
    with pytest.raises(TranscriptMismatch, match="32 bytes"):
        ReleaseKey((new_nonce(), nonce), os.urandom(16))


def test_nonces_are_fresh():
    assert len({new_nonce() for _ in range(100)}) == 100 and len(new_nonce()) == NONCE_BYTES


def test_a_release_is_uniform_over_many_runs():
    """Bytes of a constant share, released under 4,000 keys."""
    words = [zero((new_nonce(), new_nonce()), os.urandom(16)) for _ in range(4000)]
    found = np.array(words, dtype=np.int64).view(np.uint64).reshape(-1)
    for shift in range(0, 64, 8):
        assert abs(chi_square(found, shift)) < SIGMAS


def test_the_key_is_in_no_repr():
    key = ReleaseKey(NONCES, b"s" * 16)
    assert NONCES[1].hex() not in repr(key) and "\\x01" not in repr(vars(sessions()[0])["key"])


def test_a_release_costs_no_round_and_no_byte():
    outcome = run(lambda engine, x: engine.square(x), np.arange(5, dtype=np.uint64))
    assert outcome.sessions[0].rounds == 1
    assert outcome.sessions[0].bytes_sent == 5 * 8 + 16
    assert (outcome.value == np.arange(5) ** 2).all()
    assert not (as_words(outcome.shares[0]) == as_words(outcome.inner[0])).any()
