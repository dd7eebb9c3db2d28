"""Products of re-randomised hints are those of integers, for layers of every geometry."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.prg import KeyStream
from parties.mpc.twoparty import encrypted, hints, ring
from parties.mpc.twoparty.hints import MaskHolder, WeightHolder
from parties.mpc.twoparty.layers import Layer
from parties.mpc.window import Window
from privedge.errors import ShareError, TranscriptMismatch

_NONCE = b"a nonce of both parties"
_HALVED = Window(2, 1, (1, 1, 1, 1))
_TWICE = Window(1, 2, (1, 1, 1, 1))
_KINDS = {
    "an input of all owners": FixedProduct("conv", "w", (2, 5, 1, 4, 4), (2, 1, 1, 8, 8), _HALVED),
    "inputs of each owner": FixedProduct("conv", "w", (2, 3, 4, 4, 4), (1, 2, 4, 8, 8), _HALVED),
    "many maps in a polynomial": FixedProduct("conv", "w", (1, 40, 2, 3, 3), (1, 1, 2, 16, 16)),
    "an image enlarged": FixedProduct("conv", "w", (2, 8, 2, 3, 3), (1, 2, 2, 4, 4), _TWICE),
    "enlarged, more maps": FixedProduct("conv", "w", (1, 33, 4, 3, 3), (1, 1, 4, 2, 2), _TWICE),
    "many channels": FixedProduct("conv", "w", (1, 2, 40, 3, 3), (1, 1, 40, 16, 16)),
    "dense": FixedProduct("dense", "w", (3, 64, 96), (3, 2, 96)),
    "dense, more inputs than coefficients": FixedProduct("dense", "w", (1, 2, 9000), (1, 1, 9000)),
    "dense, backwards": FixedProduct("dense_back", "w", (2, 40, 12), (2, 1, 40)),
}


def _random(*shape: int) -> torch.Tensor:
    words = np.frombuffer(os.urandom(8 * int(np.prod(shape))), np.int64)
    return torch.from_numpy(words.copy()).reshape(shape)


def _pair(layer: Layer, prepared: torch.Tensor) -> tuple[WeightHolder, MaskHolder]:
    holder = WeightHolder(layer, layer.weights(prepared), _NONCE)
    masks = MaskHolder(layer, _NONCE)
    for message in holder.messages():
        masks.take(message)
    return holder, masks


def _product(layer: Layer, prepared: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    holder, masks = _pair(layer, prepared)
    outputs = []
    for rows in layer.rows(mask):
        message, asked = masks.ask(rows)
        reply, mine = holder.reply(message)
        theirs = masks.shares(asked, reply)
        outputs.append([one + other for one, other in zip(mine, theirs, strict=True)])
    return layer.laid_out([np.stack(block) for block in zip(*outputs, strict=True)])


@pytest.mark.parametrize("kind", _KINDS.values(), ids=_KINDS)
def test_products_are_exact(kind: FixedProduct) -> None:
    prepared, mask = kind.prepared(_random(*kind.weight)), _random(*kind.input)
    found = _product(Layer.of(kind), prepared, mask)
    assert torch.equal(found, kind.apply(mask, prepared))


@pytest.mark.parametrize("word", [0, 1, 2**63 - 1, -(2**63), -1])
@pytest.mark.parametrize("few", [True, False])
def test_the_largest_and_smallest_words(
    word: int, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both ways of summing take a word as the same number, or nothing would be right."""
    monkeypatch.setattr(hints, "_GATHERED", 1 << 40 if few else 0)
    kind = FixedProduct("conv", "w", (1, 2, 2, 3, 3), (1, 1, 2, 4, 4), _HALVED)
    prepared = kind.prepared(torch.full(kind.weight, word))
    mask = torch.full(kind.input, word)
    assert torch.equal(_product(Layer.of(kind), prepared, mask), kind.apply(mask, prepared))


_EDGES = [2**at + by for at in (63, 62, 31) for by in (-1, 0, 1)]
_WORDS = st.integers(0, 2**64 - 1) | st.sampled_from(_EDGES)


@given(st.lists(_WORDS, min_size=1, max_size=8))
def test_a_word_is_the_same_number_however_it_is_multiplied(words: list[int]) -> None:
    """Sums of digits of 16 bits, and products by transforms of 13: both take it as signed."""
    raw = np.array(words, np.uint64)
    signed = [int(word) for word in raw.view(np.int64)]
    for bits in (13, 16):
        digits = ring.signed_digits(raw, bits)
        assert np.abs(digits).max() <= 1 << (bits - 1)
        places = range(len(digits))
        found = [sum(int(digits[at, n]) << bits * at for at in places) for n in range(len(words))]
        assert found == signed
    # A polynomial that is a number, times the words.
    one = np.zeros((ring.LIMBS, ring.DEGREE), np.int64)
    one[-1, 0] = 1
    padded = np.zeros(ring.DEGREE, np.uint64)
    padded[: len(words)] = raw
    by_transforms = ring.carried(ring.large_product(ring.finely(one), ring.finely_of_words(padded)))
    sums = np.zeros((ring.LIMBS, 1, len(words)), np.int64)
    for at in range(len(words)):
        encrypted.add_combined(sums[..., at : at + 1], raw[None, at : at + 1], one[:, :1, None])
    assert np.array_equal(by_transforms[:, : len(words)], ring.carried(sums)[:, 0])


@pytest.mark.slow
def test_hints_of_a_million_outputs() -> None:
    kind = FixedProduct("conv", "w", (16, 32, 16, 4, 4), (31, 16, 16, 16, 16), _HALVED)
    prepared, mask = kind.prepared(_random(*kind.weight)), _random(*kind.input)
    off = _product(Layer.of(kind), prepared, mask) - kind.apply(mask, prepared)
    assert off.numel() > 10**6
    assert int(off.abs().max()) <= 1


def test_no_secret_of_hints_meets_one_public_polynomial_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two samples of one pair would show the difference of what they hide."""
    seen: list[tuple[bytes, bytes]] = []
    plain = encrypted.sample

    def recorded(a: ring.Transform, secret: ring.Transform, stream: KeyStream) -> ring.Poly:
        seen.append((a.tobytes(), secret.tobytes()))
        return plain(a, secret, stream)

    monkeypatch.setattr(hints, "sample", recorded)
    kind = _KINDS["inputs of each owner"]
    layer = Layer.of(kind)
    holder, masks = _pair(layer, kind.prepared(_random(*kind.weight)))
    for _ in range(3):
        for rows in layer.rows(_random(*kind.input)):
            holder.reply(masks.ask(rows)[0])
    hinted = layer.owners * layer.polynomials
    assert len(seen) == hinted + 3 * (1 + layer.groups)
    assert len(set(seen)) == len(seen)


def test_messages_of_the_wrong_length_are_refused() -> None:
    kind = _KINDS["inputs of each owner"]
    layer = Layer.of(kind)
    holder, masks = _pair(layer, kind.prepared(_random(*kind.weight)))
    message, asked = masks.ask(layer.rows(_random(*kind.input))[0])
    reply, _ = holder.reply(message)
    for spoilt in (b"", reply[:-1], reply + b"x"):
        with pytest.raises(TranscriptMismatch):
            masks.shares(asked, spoilt)
    for spoilt in (b"", message[:-1], message + b"x"):
        with pytest.raises(TranscriptMismatch):
            holder.reply(spoilt)
    with pytest.raises(TranscriptMismatch):
        masks.take(bytes(10))
    fresh = MaskHolder(layer, _NONCE)
    with pytest.raises(TranscriptMismatch):
        fresh.shares(asked, reply)


def test_an_image_of_more_pixels_than_coefficients_is_refused() -> None:
    with pytest.raises(ShareError, match="so large"):
        Layer.of(FixedProduct("conv", "w", (1, 1, 1, 3, 3), (1, 1, 1, 100, 100)))
