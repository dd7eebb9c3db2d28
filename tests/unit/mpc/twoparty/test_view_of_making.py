"""What one party sees of a making is uniform, whatever the other one's secrets are: 5 sigma.

For transfers see test_twoparty_transfers.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import Comparison, FusedRelu
from parties.mpc.tuples import Product, Square, Truncation, TupleKind
from parties.mpc.twoparty import encrypted, hints, ring
from parties.mpc.twoparty.encrypted import Evaluator, KeyHolder
from parties.mpc.twoparty.hints import MaskHolder, WeightHolder
from parties.mpc.twoparty.layers import Layer
from parties.mpc.twoparty.making import chunks, given
from privedge.sharing.ring import Words
from tests.chance import SIGMAS
from tests.unit.mpc.twoparty import together
from tests.unit.mpc.twoparty.together import Pairing

_SECRETS = [0, -1]
_KINDS: list[TupleKind] = [
    FusedRelu((2048,), 16),
    Comparison((2048,), 63),
    TruncatedSquare((2048,), 16),
    Truncation((2048,), 16),
    Choice(2048, 2, 4),
    Square((2048,)),
    Product("mul", (4, 512), (4, 1)),
]


def _assert_fair(ones: npt.NDArray[Any], draws: int) -> None:
    """Each of these bits was one in about half of the draws."""
    assert draws > 1000
    assert np.abs(ones / draws - 0.5).max() < SIGMAS * 0.5 / np.sqrt(draws)


def _assert_uniform(message: bytes, digits: int) -> None:
    """Each bit of a coefficient is fair, over all coefficients."""
    poly = ring.from_bytes(message, digits)
    bits = poly[..., None] >> np.arange(ring.LIMB_BITS) & 1
    _assert_fair(bits.sum(1), poly.shape[1])


@pytest.mark.parametrize("secret", _SECRETS)
def test_what_hints_show_is_uniform(secret: int) -> None:
    kind = FixedProduct("dense", "w", (1, 2048, 8), (1, 1, 8))
    layer = Layer.of(kind)
    weight = layer.weights(torch.full(kind.weight, secret))
    holder, masks = WeightHolder(layer, weight, b"nonce"), MaskHolder(layer, b"nonce")
    for message in holder.messages():
        _assert_uniform(message, hints.SENT)
        masks.take(message)
    message, _ = masks.ask(layer.rows(torch.full(kind.input, secret))[0])
    key = ring.DEGREE * ring.coefficient_bytes(hints.SENT)
    _assert_uniform(message[:key], hints.SENT)
    _assert_uniform(message[key:], ring.LIMBS - 1)
    reply, (share,) = holder.reply(message)
    _assert_uniform(reply, hints.SENT)
    _assert_words(share)


@pytest.mark.parametrize("secret", _SECRETS)
def test_what_encrypted_weights_show_is_uniform(secret: int) -> None:
    rows, columns = 2048, 2
    words = np.array([secret], np.int64).view(np.uint64)[0]
    holder = KeyHolder(np.full((rows, columns), words), b"nonce")
    evaluator = Evaluator(rows, columns, b"nonce")
    for message in holder.messages():
        _assert_uniform(message, ring.LIMBS)
        evaluator.take(message)
    (reply,), (share,) = evaluator.replies(np.full((1, columns), words))
    first = ring.DEGREE * ring.coefficient_bytes(ring.LIMBS)
    _assert_uniform(reply[:first], ring.LIMBS)
    _assert_uniform(reply[first:], encrypted.SENT)
    _assert_words(share)


class _Constant:
    """In place of a party's fresh stream."""

    def __init__(self, word: int) -> None:
        self._word = word

    def take(self, shape: Any) -> torch.Tensor:
        return torch.full(tuple(shape), self._word, dtype=torch.int64)


@pytest.mark.parametrize("kind", _KINDS, ids=lambda kind: type(kind).__name__)
def test_messages_of_tuples_do_not_depend_on_what_is_shared(
    kind: TupleKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both parties draw only zeros, only ones, and what they like: each message has as many ones,
    because keys of transfers that its reader lacks are all that hides what is in it.
    """
    draws = [*(partial(_Constant, word) for word in _SECRETS), together.fresh]
    first, *others = [_ones_of(kind, fresh, monkeypatch) for fresh in draws]
    for other in others:
        for (step, one), (_, two) in zip(first, other, strict=True):
            assert len(one) == len(two)
            apart = int(one.sum()) - int(two.sum())
            assert abs(apart) <= SIGMAS * np.sqrt(2 * 0.25 * len(one)), step


def _ones_of(
    kind: TupleKind, fresh: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """The bits of each message, with its step."""
    monkeypatch.setattr(together, "fresh", fresh)
    seen: list[tuple[str, npt.NDArray[np.uint8]]] = []

    def kept(step: str, message: bytes) -> bytes:
        seen.append((step, np.unpackbits(np.frombuffer(message, np.uint8))))
        return message

    pairing, starts = Pairing(), [given([kind], fresh()) for _ in (0, 1)]
    for chunk in chunks([kind]):
        pairing.make(chunk, kept, starts)
    return seen


def _assert_words(words: Words) -> None:
    bits = words.reshape(-1, 1) >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    _assert_fair(bits.sum(0), words.size)
