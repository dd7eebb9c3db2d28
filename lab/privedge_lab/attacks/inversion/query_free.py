"""Query-free inversion: train a shadow head for the tail, then invert it (He et al. 2019, 4.3).

The attacker is the split server. It has its own tail and labelled images, but neither the head's
parameters nor a device to ask. It trains a shadow head in front of the frozen tail until the two
together label its images correctly. Then it runs the white-box attack on the shadow head.
"""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional

from privedge.progress import Progress
from privedge_lab.attacks.inversion.white_box import WhiteBoxSettings, white_box
from privedge_lab.attacks.views import BlackBoxView, QueryFreeView, WhiteBoxView
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.network import build, head
from privedge_lab.baseline.spec import NetworkSpec


@dataclass(frozen=True)
class QueryFreeSettings:
    """The shadow head and how it is trained and inverted. The defaults are the paper's.

    `shadow` cut at `cut` is the head's structure, or the attacker's guess of it. Training follows
    the released code: Adam 1e-3, eps 1e-3, AMSGrad, batches of 32, 50 epochs. `search` is the
    white-box attack on the shadow: 500 steps of 1e-1, smoothness 2.
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
    """Reconstruct images float32 (n, C, H, W) in [0, 1], one for each row of `view.sent`.

    `generator` gives the shadow's initial weights and the order. `progress` first gets epochs of
    the shadow, then steps of the search.
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
    """Train the attacker's own head; return it in eval mode.

    Raises ConfigError for a cut that does not exist.
    """
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
            # Gradients of the shadow alone: the tail is frozen and must not even collect gradients.
            loss.backward(inputs=list(shadow.parameters()))
            optimiser.step()
        if progress is not None:
            progress("train a shadow", epoch, settings.epochs)
    return shadow.eval()


def imitation(
    view: BlackBoxView,
    settings: QueryFreeSettings,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> nn.Sequential:
    """Train a shadow head to put out what a device does; return it in eval mode.

    This attacker may ask a device but does not know its parameters (He et al. 2019, "black-box by
    shadow"): the white-box attack on the imitation is then theirs. `settings` as above.
    """
    shadow = head(build(settings.shadow, generator), settings.cut).train()
    optimiser = torch.optim.Adam(
        shadow.parameters(), lr=settings.rate, eps=settings.eps, amsgrad=True
    )
    for epoch in range(1, settings.epochs + 1):
        for index in torch.randperm(len(view.known), generator=generator).split(settings.batch):
            images = view.known.images[index]
            loss = functional.mse_loss(shadow(images), view.ask(images))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        if progress is not None:
            progress("imitate", epoch, settings.epochs)
    return shadow.eval()
