"""Turn the words that one MPC party sees into numbers that attackers can learn from.

A word hides its secret behind a uniform mask, in all 64 bits alike. An attacker who doubts this
tries several readings of the view, each in several encodings. As a control, `reunited` reads both
parties' views together. It goes through the same encodings, which shows that they lose nothing.
"""

from collections.abc import Callable

import torch

from parties.mpc.widening import unpacked
from privedge.sharing.fixed_point import SCALE
from privedge.sharing.ring import RING_BITS
from privedge_lab.attacks.views import PartyView

# How many words, evenly spaced, attackers learn from in a reading without a shape.
_FLAT_WORDS = 1024
_TOP_BITS, _LOW_BITS = 8, 20


def image_share(view: PartyView) -> torch.Tensor:
    """Return int64 (n, *input_shape): the share of the image, read as if it were the image."""
    return view.image_share


def opening(view: PartyView) -> torch.Tensor:
    """Return int64 (n, *input_shape): the first value opened, which is the input and a mask."""
    if view.word_bits == RING_BITS:
        return _like_the_image(view.sent + view.received, view)
    halves = (_unpacked(words, view) for words in (view.sent, view.received))
    return _centred(sum(halves, torch.tensor(-(1 << (view.word_bits - 2)))), view.word_bits)


def half_unmasked(view: PartyView) -> torch.Tensor:
    """Return int64 (n, *input_shape): the opening without the party's own share of its mask."""
    mask = _like_the_image(view.masks, view)
    if view.word_bits == RING_BITS:  # the mask was subtracted
        return opening(view) + mask
    return _centred(opening(view) - mask, view.word_bits)


def everything(view: PartyView) -> torch.Tensor:
    """Return int64 (n, words): seeds, answer share, and words of exchanges, masks and their making.

    These are too long to learn from; only evenly spaced words of them are kept.
    """
    parts = (
        *(view.seeds, view.answer_share),
        *(view.received, view.sent, view.masks, view.making),
    )
    words = torch.cat(parts, dim=1)
    step = -(-words.shape[1] // _FLAT_WORDS)
    # Seeds and answer share are short, so they are kept whole.
    first = view.seeds.shape[1] + view.answer_share.shape[1]
    return torch.cat([words[:, :first], words[:, first::step]], dim=1)


READINGS: dict[str, Callable[[PartyView], torch.Tensor]] = {
    "image share": image_share,
    "opening": opening,
    "opening, own mask added": half_unmasked,
    "everything": everything,
}


def reunited(views: tuple[PartyView, PartyView]) -> torch.Tensor:
    """Return int64 (n, *input_shape): the secret itself, which no single party can have."""
    return views[0].image_share + views[1].image_share


def as_value(words: torch.Tensor) -> torch.Tensor:
    """Decode signed fixed point to float32 of the same shape: right if nothing hides the value."""
    return (words.double() / SCALE).float()


def top_bits(words: torch.Tensor) -> torch.Tensor:
    """Return the highest bits as -1 and 1, each bit a channel: float32 (n, bits * C, ...)."""
    return _bits(words, range(63, 63 - _TOP_BITS, -1))


def low_bits(words: torch.Tensor) -> torch.Tensor:
    """Return the bits that vary in an unhidden value, as -1 and 1: float32 (n, bits * C, ...)."""
    return _bits(words, range(_LOW_BITS))


ENCODINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "value": as_value,
    "top bits": top_bits,
    "low bits": low_bits,
}


def as_image(words: torch.Tensor) -> torch.Tensor:
    """Decode words (n, C, H, W) as if they were a `Pixels` input: float32 pixels in [0, 1]."""
    return ((as_value(words) + 1) / 2).clamp(0, 1)


def _bits(words: torch.Tensor, places: range) -> torch.Tensor:
    return torch.cat([((words >> place) & 1).float() * 2 - 1 for place in places], dim=1)


def _like_the_image(words: torch.Tensor, view: PartyView) -> torch.Tensor:
    shape = view.image_share.shape
    return words[:, : shape[1:].numel()].reshape(shape)


def _unpacked(words: torch.Tensor, view: PartyView) -> torch.Tensor:
    """Return the narrow words of the first exchange, int64 (n, *input_shape)."""
    shape = view.image_share.shape
    rows = [unpacked(row.contiguous(), view.word_bits, shape[1:].numel()) for row in words]
    return torch.stack(rows).reshape(shape)


def _centred(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Return words modulo 2^bits, in two's complement."""
    return words << (64 - bits) >> (64 - bits)
