"""Level 2 with what images look like: restore what known pairs recover only in part.

Noise stays in images that regression recovers, and blocks that no codebook has stay grey. The
adversary knows the disguise and has images of the same kind. So it disguises these under keys of
its own, recovers them from as many pairs as it has of the victim, and trains a network to make the
originals of what it recovered. Pixels, unlike disguised ones, look alike under every key, so the
network restores the victim's images too.
"""

import hashlib
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from privedge_lab.attacks.views import KnownPairsView
from privedge_lab.disguise.disguise import Disguise
from privedge_lab.disguise.keys import DisguiseKey

_MOST = 2000
_WIDTH, _EPOCHS, _BATCH, _RATE = 32, 8, 32, 2e-3
_SLIGHT = 0.01


def restored(
    view: KnownPairsView,
    recover: Callable[[KnownPairsView], torch.Tensor],
    public: torch.Tensor,
    *,
    seed: int,
) -> torch.Tensor:
    """Recover all disguised images by `recover`, and restore them: float32 (n, C, H, W) in [0, 1].

    `public` (m, C, H, W) are other images of the kind. `seed` gives the adversary's key, the
    network's weights and the order; noise of the disguise is fresh, as always.
    """
    count = len(view.known)
    ours, known = public[count : count + _MOST], public[:count]
    key = hashlib.sha256(f"privedge adversary {seed}".encode()).digest()
    own = Disguise(DisguiseKey(view.sized, key))
    found = recover(KnownPairsView(own.apply(ours), view.sized, known, own.apply(known)))
    network = _learnt(found, ours, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return _restore(network, recover(view)).clamp(0, 1)


def _learnt(found: torch.Tensor, truth: torch.Tensor, generator: torch.Generator) -> nn.Sequential:
    network = _network(truth.shape[1], generator)
    optimiser = torch.optim.Adam(network.parameters(), lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _EPOCHS)
    for _ in range(_EPOCHS):
        for index in torch.randperm(len(truth), generator=generator).split(_BATCH):
            loss = functional.mse_loss(_restore(network, found[index]), truth[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return network.eval()


def _restore(network: nn.Sequential, found: torch.Tensor) -> torch.Tensor:
    pixels: torch.Tensor = found + network(found - 0.5)
    return pixels


def _network(channels: int, generator: torch.Generator) -> nn.Sequential:
    """Convolutions that see 15 pixels in each direction: a block, and those around it."""
    layers: list[nn.Module] = []
    widths = (channels, _WIDTH, _WIDTH, _WIDTH, channels)
    for inputs, outputs, apart in zip(widths, widths[1:], (1, 2, 3, 1), strict=False):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=apart, dilation=apart)
        nn.init.kaiming_uniform_(convolution.weight, nonlinearity="relu", generator=generator)
        layers += (convolution, nn.ReLU())
    # At first nearly nothing is changed.
    with torch.no_grad():
        convolution.weight *= _SLIGHT
    return nn.Sequential(*layers[:-1])
