"""Additive noise on the activations (He et al., IoT-J 2020): Gaussian and Laplace.

As in the paper, `strength` is the scale (sigma or b) in units of the activations, and the network
is not trained with the noise. A head trained with noise of a fixed size simply learns to output
larger values.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch

from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.draws import Draws, Repeat, laplace, normal

UNSAFE_NOISE: Mapping[Repeat, str] = {
    "fresh": "the mean over repeated queries is free of noise; use per-input",
    "fixed": "the same noise on every image is a constant that a few known images give away; "
    "use per-input",
}


class Gaussian(Defence):
    """Send the activations plus N(0, strength^2)."""

    name: ClassVar[str] = "gaussian"
    unsafe: ClassVar[Mapping[Repeat, str]] = UNSAFE_NOISE

    def transform(self, sent: torch.Tensor, draws: Draws) -> torch.Tensor:
        """As Defence says."""
        return sent + self.strength * normal(draws, tuple(sent.shape[1:]))


class Laplace(Defence):
    """Send the activations plus Laplace(strength)."""

    name: ClassVar[str] = "laplace"
    unsafe: ClassVar[Mapping[Repeat, str]] = UNSAFE_NOISE

    def transform(self, sent: torch.Tensor, draws: Draws) -> torch.Tensor:
        """As Defence says."""
        return sent + self.strength * laplace(draws, tuple(sent.shape[1:]))
