"""Black-box inversion: train a network to invert a device by asking it (He et al. 2019, 4.2).

The attacker has images and a device of its own with the same head. It asks the device about the
images and trains an inverse network on the pairs. These answers are defended like everything a
device sends, so the network learns to undo the defence as far as possible. This makes the attacker
adaptive.
"""

from dataclasses import dataclass

import torch
from torch import nn

from privedge.progress import Progress
from privedge_lab.attacks.inversion.decoders import Kind, decoder
from privedge_lab.attacks.views import BlackBoxView

_ASKED_AT_ONCE = 500


@dataclass(frozen=True)
class BlackBoxSettings:
    """The decoder and how it is trained. The defaults are the paper's (released code).

    `known`: how many of the view's images to use, None for all. `blocks` and `channels` apply to
    the residual decoder. With `anneal`, the rate falls to 0 along a cosine over all epochs; else it
    is halved every `halve_every` epochs.
    """

    decoder: Kind = "paper"
    known: int | None = None
    epochs: int = 50
    batch: int = 32
    rate: float = 1e-3
    eps: float = 1e-3
    halve_every: int = 10
    anneal: bool = False
    blocks: int = 2
    channels: int = 32


def black_box(
    view: BlackBoxView,
    settings: BlackBoxSettings,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Reconstruct images float32 (n, C, H, W) in [0, 1], one for each row of `view.sent`."""
    network = inverse_network(view, settings, generator=generator, progress=progress)
    return apply(network, view.sent)


def inverse_network(
    view: BlackBoxView,
    settings: BlackBoxSettings,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> nn.Module:
    """Train the decoder and return it in eval mode, for an attacker who will see more activations.

    `generator` gives initial weights and order. `progress` gets the epochs done and in all.
    """
    images = view.known.images[: settings.known]
    sent = torch.cat([view.ask(part) for part in images.split(_ASKED_AT_ONCE)])
    network = decoder(
        settings.decoder,
        tuple(sent.shape[1:]),
        (images.shape[1], images.shape[2], images.shape[3]),
        generator,
        blocks=settings.blocks,
        channels=settings.channels,
    ).train()
    optimiser = torch.optim.Adam(
        network.parameters(), lr=settings.rate, eps=settings.eps, amsgrad=True
    )
    schedule = _schedule(optimiser, settings)
    for epoch in range(1, settings.epochs + 1):
        for index in torch.randperm(len(images), generator=generator).split(settings.batch):
            gaps = network(sent[index]) - images[index]
            # The loss on [-1, 1], as the paper scales MNIST. The factor matters, because Adam's eps
            # is not small beside the gradients.
            loss = 4 * gaps.square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
        if progress is not None:
            progress("train", epoch, settings.epochs)
    return network.eval()


@torch.no_grad()
def apply(network: nn.Module, sent: torch.Tensor) -> torch.Tensor:
    """Decode activations float32 (n, ...) to images float32 (n, C, H, W) in [0, 1]."""
    return torch.cat([network(part).clamp(0, 1) for part in sent.split(_ASKED_AT_ONCE)])


def _schedule(
    optimiser: torch.optim.Optimizer, settings: BlackBoxSettings
) -> torch.optim.lr_scheduler.LRScheduler:
    if settings.anneal:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
    return torch.optim.lr_scheduler.StepLR(optimiser, settings.halve_every, 0.5)
