"""Send only some of the activations: `strength` is the share that is dropped, in [0, 1).

Dong et al. 2017 (arXiv 1711.07520, "dropping activation outputs") train with the mask and make up
for it by the scale 1 / (1 - share). He et al. (IoT-J 2020, "feature dropout") apply an unscaled
Bernoulli mask to a network that was trained without one.

The mask is the same for all images of a deployment (`fixed`), or the same whenever an image is
asked about again (`per-input`). A fresh mask for each of q queries would reveal 1 - share^q of the
activations.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch

from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.draws import Draws, Repeat, keep, keep_exactly

_UNSAFE: Mapping[Repeat, str] = {
    "fresh": "masks of repeated queries together show everything; use fixed or per-input"
}


def kept_of(outputs: int, drop_rate: float) -> int:
    """Return how many of `outputs` values are sent, at least 1."""
    return max(1, round(outputs * (1 - drop_rate)))


class Dropping(Defence):
    """Dong et al.: keep an exact number of values and scale them up, in training as well."""

    name: ClassVar[str] = "dropping"
    trains: ClassVar[bool] = True
    unsafe: ClassVar[Mapping[Repeat, str]] = _UNSAFE

    @classmethod
    def strengths(cls) -> tuple[float, float]:
        """As Defence says."""
        return 0.0, 1.0

    def transform(self, sent: torch.Tensor, draws: Draws) -> torch.Tensor:
        """As Defence says."""
        shape = tuple(sent.shape[1:])
        outputs = math.prod(shape)
        kept = kept_of(outputs, self.strength)
        return sent * keep_exactly(draws, shape, kept) * self.scale(outputs)

    def scale(self, outputs: int) -> float:
        """Return the factor of kept values. It is public, so an attacker divides by it."""
        return outputs / kept_of(outputs, self.strength)


class FeatureDropout(Defence):
    """He et al.: drop each value with probability `strength`, but not in training."""

    name: ClassVar[str] = "feature-dropout"
    unsafe: ClassVar[Mapping[Repeat, str]] = _UNSAFE

    @classmethod
    def strengths(cls) -> tuple[float, float]:
        """As Defence says."""
        return 0.0, 1.0

    def transform(self, sent: torch.Tensor, draws: Draws) -> torch.Tensor:
        """As Defence says."""
        return sent * keep(draws, tuple(sent.shape[1:]), self.strength)
