"""Query-free inversion: a shadow of the head that fits the tail, then undone (He et al. 2019, 4.3).

The attacker is the split server: it has its own tail and labelled images, but neither the head's
parameters nor a device to ask. It trains a head of its own with the tail frozen, so that the two
together label its images right, and then runs the white-box attack on that head.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from privedge_lab.attacks.inversion.white_box import WhiteBoxSettings, white_box
from privedge_lab.attacks.views import QueryFreeView, WhiteBoxView
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.network import build, head
from privedge_lab.baseline.spec import NetworkSpec

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class QueryFreeSettings:
    """`shadow` cut at `cut` is the head's structure, or what the attacker takes it for.

    The shadow is trained as the paper's (released code): Adam 1e-3, eps 1e-3, AMSGrad, batches of
    32, 50 epochs; `search` is the white-box attack on it: 500 steps of 1e-1, smoothness 2.
    """

    shadow: NetworkSpec
    cut: str
    epochs: int = 50
    batch: int = 32
    rate: float = 1e-3
    eps: float = 1e-3
    search: WhiteBoxSettings = field(
        default_factory=lambda: WhiteBoxSettings(iterations=500, rate=1e-1, smoothness=2.0)
    )


def query_free(
    view: QueryFreeView,
    settings: QueryFreeSettings,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Images float32 (n, C, H, W) in [0, 1], one for each row of `view.sent`.

    `generator` gives the shadow's weights and the order. `progress` is told epochs of the shadow
    first, then steps of the search.
    """
    shadow = shadow_head(view, settings, generator=generator, progress=progress)
    _, channels, height, width = view.known.images.shape
    white = WhiteBoxView(view.sent, shadow, (channels, height, width), Defence())
    return white_box(white, settings.search, generator=generator, progress=progress)


def shadow_head(
    view: QueryFreeView,
    settings: QueryFreeSettings,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> nn.Sequential:
    """The attacker's own head, in eval mode. Raises ConfigError for a cut that is not there."""
    shadow = head(build(settings.shadow, generator), settings.cut).train()
    server = view.tail.eval()
    optimiser = torch.optim.Adam(
        shadow.parameters(), lr=settings.rate, eps=settings.eps, amsgrad=True
    )
    for epoch in range(1, settings.epochs + 1):
        for index in torch.randperm(len(view.known), generator=generator).split(settings.batch):
            batch = view.known.take(index)
            loss = functional.cross_entropy(server(shadow(batch.images)), batch.labels)
            optimiser.zero_grad()
            # Of the shadow alone: the tail is frozen, and not even its gradients are left behind.
            loss.backward(inputs=list(shadow.parameters()))
            optimiser.step()
        if progress is not None:
            progress(epoch, settings.epochs)
    return shadow.eval()
