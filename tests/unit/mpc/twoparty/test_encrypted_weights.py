"""Products with weights that were sent once, encrypted, are those of integers."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.prg import KEY_BYTES, KeyStream
from parties.mpc.twoparty import encrypted, ring
from parties.mpc.twoparty.encrypted import Evaluator, KeyHolder
from privedge.errors import LimitExceeded, NotReady, TranscriptMismatch
from privedge.sharing.ring import Words
from tests.chance import fair

_NONCE = b"a nonce of both parties"


def _random(*shape: int) -> Words:
    return np.frombuffer(os.urandom(8 * int(np.prod(shape))), np.uint64).reshape(shape).copy()


def _pair(weight: Words, nonce: bytes = _NONCE) -> tuple[KeyHolder, Evaluator]:
    holder, evaluator = KeyHolder(weight, nonce), Evaluator(*weight.shape, nonce)
    for message in holder.messages():
        evaluator.take(message)
    return holder, evaluator


def _assert_exact(weight: Words, masks: Words) -> None:
    holder, evaluator = _pair(weight)
    replies, theirs = evaluator.replies(masks)
    mine = np.stack([holder.share(reply) for reply in replies])
    assert np.array_equal(mine + np.stack(theirs), masks @ weight.T)


@settings(max_examples=5)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 3))
def test_products_are_exact(rows: int, columns: int, count: int) -> None:
    _assert_exact(_random(rows, columns), _random(count, columns))


def test_more_columns_than_are_summed_at_once() -> None:
    _assert_exact(_random(2, encrypted.TERMS + 3), _random(2, encrypted.TERMS + 3))


def test_more_rows_than_a_polynomial_has() -> None:
    _assert_exact(_random(ring.DEGREE + 5, 2), _random(2, 2))


@pytest.mark.parametrize("word", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_the_largest_and_smallest_words(word: int) -> None:
    """Also with as many columns as are summed at once, where sums are largest."""
    columns = encrypted.TERMS if word == 2**63 else 3
    _assert_exact(np.full((2, columns), word, np.uint64), np.full((1, columns), word, np.uint64))


@pytest.mark.slow
def test_a_million_outputs() -> None:
    _assert_exact(_random(4000, 512), _random(256, 512))


def test_no_secret_meets_one_public_polynomial_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples of one pair would show the difference of what they hide."""
    seen: list[tuple[bytes, bytes]] = []
    plain = encrypted.sample

    def recorded(a: ring.Transform, secret: ring.Transform, stream: KeyStream) -> ring.Poly:
        seen.append((a.tobytes(), secret.tobytes()))
        return plain(a, secret, stream)

    monkeypatch.setattr(encrypted, "sample", recorded)
    weight = _random(ring.DEGREE + 1, 3)
    # The same weight again under the same nonce, as after a careless restart; two lots of replies.
    for _ in range(2):
        _, evaluator = _pair(weight)
        evaluator.replies(_random(2, 3))
        evaluator.replies(_random(1, 3))
    assert len(seen) == 2 * (2 * 4 + 3)
    assert len(set(seen)) == len(seen)
    # Each secret is its owner's, and each a of one holder is another one.
    assert len({a for a, _ in seen}) == 4


def test_noise_is_within_its_bound() -> None:
    """K's share before R's part is rounded off: the noise of a sum of 64 columns."""
    columns = 64
    weight, masks = _random(5, columns), _random(1, columns)
    holder, evaluator = _pair(weight)
    sums = evaluator._combined(masks)[:, 0]
    a = ring.transformed(ring.centred(ring.carried(sums[:, : ring.DEGREE].copy())))
    hidden = ring.multiplied(a, holder._secrets[0])[:, :5]
    digits = ring.carried(sums[:, ring.DEGREE :] - hidden - ring.scaled((masks @ weight.T)[0]))
    noise = [
        sum(int(digit) << ring.LIMB_BITS * at for at, digit in enumerate(column))
        for column in digits.T
    ]
    signed = [value - (value >> (ring.Q_BITS - 1) << ring.Q_BITS) for value in noise]
    assert 0 < max(map(abs, signed)) <= columns * 2**63 * ring.ERROR_PAIRS


def test_what_the_other_party_gets_looks_uniform() -> None:
    holder, evaluator = _pair(np.zeros((4096, 1), np.uint64))
    replies, _ = evaluator.replies(np.zeros((1, 1), np.uint64))
    for message in (*holder.messages(), *replies):
        # Coefficients of 27 bytes are full; what is left of the last byte of 14 is cut off.
        bits = np.unpackbits(np.frombuffer(message[: 4096 * 27], np.uint8))
        assert fair(bits)


@pytest.mark.parametrize("change", [b"x", b""])
def test_messages_of_the_wrong_length_are_refused(change: bytes) -> None:
    def spoilt(message: bytes) -> bytes:
        return message + change if change else message[:-1]

    holder, evaluator = KeyHolder(_random(3, 2), _NONCE), Evaluator(3, 2, _NONCE)
    with pytest.raises(TranscriptMismatch, match="not all"):
        evaluator.replies(_random(1, 2))
    messages: Iterator[bytes] = holder.messages()
    evaluator.take(next(messages))
    with pytest.raises(TranscriptMismatch, match="wrong length"):
        evaluator.take(spoilt(next(messages)))
    holder, evaluator = _pair(_random(3, 2))
    with pytest.raises(TranscriptMismatch, match="wrong length"):
        holder.share(spoilt(evaluator.replies(_random(1, 2))[0][0]))
    with pytest.raises(TranscriptMismatch, match="wrong length"):
        evaluator.take(b"one too many")


def test_more_columns_than_there_may_be_are_refused() -> None:
    with pytest.raises(LimitExceeded, match="at most 8192 inputs"):
        Evaluator(1, 8193, _NONCE)
    with pytest.raises(LimitExceeded):
        KeyHolder(_random(1, 8193), _NONCE)


def test_this_computer_s_transforms_are_exact() -> None:
    ring.check()


def test_a_computer_whose_transforms_are_not_exact_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = np.fft.ifft
    monkeypatch.setattr(np.fft, "ifft", lambda x, axis: plain(x, axis=axis) * (1 + 1e-9))
    with pytest.raises(NotReady, match="not exact"):
        ring.check()


def test_the_proof_of_exactness_covers_the_sizes() -> None:
    """The bounds in ring.py and encrypted.py, with its numbers."""
    size = float(2 ** (ring.LIMB_BITS - 1)) * ring.DEGREE**0.5 * ring.DEGREE**0.5
    e, b, k = 2.0**-53, 2.0**-52, 12
    factors = 3 * k * e + (3 * k + 1) * 5**0.5 * e + 3 * k * b + 3 * (5**0.5 * e + b)
    assert 1.01 * factors * size < 2**-6
    assert 2 ** (15 + ring.LIMB_BITS) * encrypted.TERMS <= 2**53
    fine = float(2**12) * float(2**12) * ring.DEGREE
    assert 5 * 1.01 * factors * fine < 2**-5


def test_draws_have_the_distribution_that_the_parameters_need() -> None:
    stream = KeyStream(os.urandom(KEY_BYTES))
    secrets = np.concatenate([ring.ternary(stream) for _ in range(8)])
    counts = np.bincount(secrets + 1)
    # Six standard deviations of a third.
    assert len(counts) == 3
    assert np.all(abs(counts - len(secrets) / 3) < 6 * (len(secrets) * 2 / 9) ** 0.5)
    errors = ring.error(stream, 1 << 16)
    assert abs(errors.mean()) < 6 * 3.24 / 256
    assert abs(errors.var() - ring.ERROR_PAIRS / 2) < 0.5
    assert abs(errors).max() <= ring.ERROR_PAIRS


@settings(max_examples=20)
@given(st.integers(1, ring.LIMBS), st.integers(1, 9))
def test_digits_come_back_from_bytes(limbs: int, count: int) -> None:
    digits = ring.uniform(ring.fresh(), count)[:limbs]
    raw = ring.to_bytes(digits)
    assert len(raw) == count * ring.coefficient_bytes(limbs)
    assert np.array_equal(ring.from_bytes(raw, limbs), digits)
