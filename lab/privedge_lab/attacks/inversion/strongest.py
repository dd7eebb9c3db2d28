"""Reconstruct images by several attackers, and count the strongest.

All learn from the attacker's known images: ridge regression (linear), a dense decoder, and, where
the activations have a place, a residual decoder. As in attacks.attributes, the strongest is chosen
on known images that were held out, so an attacker could have made that choice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from privedge_lab.attacks.inversion.black_box import BlackBoxSettings, black_box
from privedge_lab.attacks.inversion.linear import linear
from privedge_lab.attacks.views import BlackBoxView

_HELD_OUT = 0.2
_DECODER = BlackBoxSettings(epochs=30, rate=2e-3, eps=1e-8, anneal=True)


@dataclass(frozen=True)
class Reconstructed:
    """The strongest attacker's name, and its images float32 (n, C, H, W) in [0, 1]."""

    attacker: str
    images: torch.Tensor


def strongest(view: BlackBoxView, *, seed: int, epochs: int = _DECODER.epochs) -> Reconstructed:
    """Reconstruct an image for each row of `view.sent`. `epochs` are those of the decoders."""
    order = torch.randperm(len(view.known), generator=torch.Generator().manual_seed(seed))
    held_out = view.known.take(order[: max(1, round(_HELD_OUT * len(order)))])
    ours = view.known.take(order[len(held_out) :])
    seen = BlackBoxView(torch.cat([view.ask(held_out.images), view.sent]), view.ask, ours)
    best, least = Reconstructed("", view.sent), float("inf")
    for name, attack in _attackers(view, seed, epochs).items():
        found = attack(seen)
        error = float((found[: len(held_out)] - held_out.images).square().mean())
        if error < least:
            best, least = Reconstructed(name, found[len(held_out) :]), error
    return best


def _attackers(
    view: BlackBoxView, seed: int, epochs: int
) -> Mapping[str, Callable[[BlackBoxView], torch.Tensor]]:
    decoders = [replace(_DECODER, decoder="dense", epochs=epochs)]
    if view.sent.ndim == 4:
        decoders.append(replace(_DECODER, decoder="residual", epochs=epochs))

    def learnt(settings: BlackBoxSettings) -> Callable[[BlackBoxView], torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return lambda seen: black_box(seen, settings, generator=generator)

    return {"linear": linear} | {each.decoder: learnt(each) for each in decoders}
