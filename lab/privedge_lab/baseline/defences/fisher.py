"""Gaussian noise calibrated by Fisher information (Maeng et al., arXiv 2305.04146).

For sent = f(x) + N(0, sigma^2) the Fisher information about the d pixel values of x is
J^T J / sigma^2, with J the Jacobian of f at x, and

    dFIL = tr(J^T J) / (sigma^2 * d)      mean squared error per pixel value >= 1 / dFIL

for every unbiased estimate of x. `strength` is the wanted bound, 1 / dFIL, in squared pixel units
(pixels in [0, 1]): 0.01 keeps unbiased attackers at 20 dB PSNR. An attacker who knows what images
look like is biased and can do better. The bound holds for the mean of the trace over training
images, not for each image.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import nn

from privedge.errors import ConfigError
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.defences.noise import UNSAFE_NOISE
from privedge_lab.baseline.draws import Draws, Repeat, normal
from privedge_lab.datasets import Labelled

_IMAGES = 512
_PROBES = 4
_AT_ONCE = 64


class Fisher(Defence):
    """sent + N(0, sigma^2) with sigma found by `finish`."""

    name: ClassVar[str] = "fisher"
    unsafe: ClassVar[Mapping[Repeat, str]] = UNSAFE_NOISE
    _sigma: float | None = None

    def transform(self, sent: torch.Tensor, draws: Draws) -> torch.Tensor:
        """As Defence says. Raises ConfigError before `finish` or `restore`."""
        if self._sigma is None:
            raise ConfigError("fisher: its noise is not calibrated; train the network with it")
        return sent + self._sigma * normal(draws, tuple(sent.shape[1:]))

    def finish(self, head: nn.Sequential, data: Labelled) -> None:
        """As Defence says."""
        images = data.images[:_IMAGES]
        pixels = images[0].numel()
        self._sigma = math.sqrt(self.strength * jacobian_energy(head, images) / pixels)

    def learned(self) -> dict[str, float]:
        """As Defence says: sigma, in units of the activations."""
        return {} if self._sigma is None else {"sigma": self._sigma}

    def restore(self, learned: Mapping[str, float]) -> None:
        """As Defence says."""
        if set(learned) != {"sigma"} or not 0 <= learned["sigma"] < math.inf:
            raise ConfigError("fisher: the file does not say its sigma; train again")
        self._sigma = learned["sigma"]


def jacobian_energy(
    head: nn.Sequential, images: torch.Tensor, probes: int = _PROBES, seed: int = 0
) -> float:
    """Estimate tr(J^T J) of `head` in eval mode, the mean over images float32 (n, C, H, W).

    Hutchinson's estimator: for random signs u, the mean of |J^T u|^2 is the trace. So the Jacobian
    is never built.
    """
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for part in images.split(_AT_ONCE):
        pixels = part.clone().requires_grad_()
        sent = head(pixels)
        for _ in range(probes):
            signs = torch.randint(0, 2, sent.shape, generator=generator).float() * 2 - 1
            # Images do not interact, so the gradient of the sum has each image's own gradient.
            back = torch.autograd.grad((sent * signs).sum(), pixels, retain_graph=True)[0]
            total += float(back.double().square().sum())
    return total / (probes * len(images))
