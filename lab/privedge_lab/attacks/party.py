"""What one MPC party can read of its view: words turned into numbers that attackers learn from.

A word hides its secret behind a uniform mask, in all 64 bits alike. An attacker who does not want
to believe that tries several readings of the view, each in several encodings. A reading of both
parties' views together (`reunited`) goes through the same encodings and shows that they lose
nothing.
"""

from collections.abc import Callable

import torch

from privedge.sharing.fixed_point import SCALE
from privedge_lab.attacks.views import PartyView

# Of a reading without a shape, so many words, evenly spaced, are learnt from.
_FLAT_WORDS = 1024
_TOP_BITS, _LOW_BITS = 8, 20


def image_share(view: PartyView) -> torch.Tensor:
    """(n, *input_shape): the share in place of the secret."""
    return view.image_share


def opening(view: PartyView) -> torch.Tensor:
    """(n, *input_shape): the first value opened, which is the input minus a mask."""
    return _like_the_image(view.sent + view.received, view)


def half_unmasked(view: PartyView) -> torch.Tensor:
    """(n, *input_shape): that opening with the party's own share of the mask added again."""
    return _like_the_image(view.sent + view.received, view) + _like_the_image(view.masks, view)


def everything(view: PartyView) -> torch.Tensor:
    """(n, words): seeds, masks, exchanges and answer share, and of these as many as are bearable,
    evenly spaced.
    """
    parts = (view.seeds, view.answer_share, view.received, view.sent, view.masks)
    words = torch.cat(parts, dim=1)
    step = -(-words.shape[1] // _FLAT_WORDS)
    # Seeds and answer share are short; they come whole.
    first = view.seeds.shape[1] + view.answer_share.shape[1]
    return torch.cat([words[:, :first], words[:, first::step]], dim=1)


READINGS: dict[str, Callable[[PartyView], torch.Tensor]] = {
    "image share": image_share,
    "opening": opening,
    "opening, own mask added": half_unmasked,
    "everything": everything,
}


def reunited(views: tuple[PartyView, PartyView]) -> torch.Tensor:
    """(n, *input_shape): what no party can have, the secret itself."""
    return views[0].image_share + views[1].image_share


def as_value(words: torch.Tensor) -> torch.Tensor:
    """Signed fixed point, float32 of the same shape: right if nothing hides the value."""
    return (words.double() / SCALE).float()


def top_bits(words: torch.Tensor) -> torch.Tensor:
    """The highest bits as -1 and 1, each a channel: (n, bits * C, ...)."""
    return _bits(words, range(63, 63 - _TOP_BITS, -1))


def low_bits(words: torch.Tensor) -> torch.Tensor:
    """The bits in which an unhidden value would differ, as -1 and 1: (n, bits * C, ...)."""
    return _bits(words, range(_LOW_BITS))


ENCODINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "value": as_value,
    "top bits": top_bits,
    "low bits": low_bits,
}


def as_image(words: torch.Tensor) -> torch.Tensor:
    """(n, C, H, W) words of a `Pixels` input as pixels in [0, 1]: the share taken for the image."""
    return ((as_value(words) + 1) / 2).clamp(0, 1)


def _bits(words: torch.Tensor, places: range) -> torch.Tensor:
    return torch.cat([((words >> place) & 1).float() * 2 - 1 for place in places], dim=1)


def _like_the_image(words: torch.Tensor, view: PartyView) -> torch.Tensor:
    shape = view.image_share.shape
    return words[:, : shape[1:].numel()].reshape(shape)
