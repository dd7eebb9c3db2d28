"""White-box inversion: search for the image whose activations come closest to those sent.

He et al. 2019, section 4.1 (regularised maximum likelihood), by Adam, in the paper from grey:

    minimise  mean((head(x) - sent)^2) + smoothness * TV(x)

As in the paper's code, TV is the mean squared difference of neighbouring pixels, scaled to [-1, 1],
and the result is clipped only at the end. All images are solved at once. They do not interact: the
loss is a sum over images, and Adam works on each value by itself.

Unlike the paper's, this attacker adapts to a device that drops activations. A value that arrives as
0 counts as unknown instead of as 0 (`masked`), and what the defence scales up is scaled down again.
It also adapts to heads with ReLUs, which may be dead at a grey image, so that no gradient leads
away from it: with several `starts`, each image keeps the one that fits best.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from privedge.progress import Progress
from privedge_lab.attacks.views import WhiteBoxView
from privedge_lab.baseline.draws import SeededDraws


@dataclass(frozen=True)
class WhiteBoxSettings:
    """How to search. `smoothness` weighs TV; `masked` is for defences that drop activations.

    `eps` is Adam's. The paper's 1e-3 slows down pixels whose gradients are small. With `anneal`,
    the rate falls to 0 along a cosine; else it is constant. `starts` are grey levels in [0, 1], and
    each costs one more search.
    """

    iterations: int = 500
    rate: float = 1e-2
    smoothness: float = 0.0
    eps: float = 1e-3
    anneal: bool = False
    masked: bool = False
    starts: tuple[float, ...] = (0.5,)
    batch: int = 200


@dataclass(frozen=True)
class _Target:
    """The activations (n, ...) to match, as the head outputs them, and the weight of each."""

    values: torch.Tensor
    weights: torch.Tensor

    def rows(self, place: slice) -> "_Target":
        return _Target(self.values[place], self.weights[place])


def white_box(
    view: WhiteBoxView,
    settings: WhiteBoxSettings,
    *,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> torch.Tensor:
    """Reconstruct images float32 (n, *view.image_shape) in [0, 1], one for each row of `view.sent`.

    `generator` gives the attacker's own draws of the defence, which reveal its scale.
    """
    target = _target(view, settings, generator)
    places = range(0, len(view.sent), settings.batch)
    total = len(places) * len(settings.starts) * settings.iterations
    found = []
    for number, place in enumerate(places):
        search = _Search(view.head, target.rows(slice(place, place + settings.batch)), settings)
        tries = []
        for turn, start in enumerate(settings.starts):
            done = (number * len(settings.starts) + turn) * settings.iterations
            tries.append(search.run(start, view.image_shape, _counted(progress, done, total)))
        found.append(_best(tries))
    return torch.cat(found)


@dataclass(frozen=True)
class _Try:
    """The images (n, C, H, W) in [0, 1] from one start, and their losses (n,) before clipping."""

    images: torch.Tensor
    losses: torch.Tensor


def _best(tries: list[_Try]) -> torch.Tensor:
    """Return, for each image, the try with the smallest loss."""
    chosen = torch.stack([each.losses for each in tries]).argmin(0)
    return torch.stack([each.images for each in tries])[chosen, torch.arange(len(chosen))]


class _Search:
    """The search for one batch of images."""

    def __init__(self, head: nn.Sequential, target: _Target, settings: WhiteBoxSettings) -> None:
        self._head, self._target, self._settings = head.eval(), target, settings
        self._counting = target.weights.flatten(1).sum(1).clamp(min=1)

    def run(
        self, start: float, image_shape: tuple[int, int, int], progress: Callable[[int], None]
    ) -> _Try:
        settings = self._settings
        size = (len(self._target.values), *image_shape)
        point = torch.full(size, 2 * start - 1, requires_grad=True)
        optimiser = torch.optim.Adam([point], lr=settings.rate, eps=settings.eps, amsgrad=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.iterations)
        for step in range(1, settings.iterations + 1):
            # Gradients of the image alone: those of the head's parameters would cost as much again.
            (point.grad,) = torch.autograd.grad(self._losses(point).sum(), [point])
            optimiser.step()
            if settings.anneal:
                schedule.step()
            progress(step)
        with torch.no_grad():
            return _Try(_pixels(point).clamp(0, 1), self._losses(point))

    def _losses(self, point: torch.Tensor) -> torch.Tensor:
        gaps = (self._head(_pixels(point)) - self._target.values).square() * self._target.weights
        losses: torch.Tensor = gaps.flatten(1).sum(1) / self._counting
        if self._settings.smoothness:
            losses = losses + self._settings.smoothness * total_variation(point)
        return losses


def total_variation(points: torch.Tensor) -> torch.Tensor:
    """Return each point's mean squared difference of neighbours: float32 (n, C, H, W) to (n,).

    Squared differences are summed and divided by the number of values.
    """
    down = (points[..., 1:, :] - points[..., :-1, :]).square().flatten(1).sum(1)
    right = (points[..., 1:] - points[..., :-1]).square().flatten(1).sum(1)
    return (down + right) / points[0].numel()


def kept(view: WhiteBoxView, generator: torch.Generator) -> torch.Tensor:
    """Return 1 where an activation is known to have been kept, else 0: float32 like `view.sent`.

    If a deployment's mask is fixed, all images together show it: only a value that is 0 in all of
    them counts as dropped. Otherwise each 0 may have been dropped, if the defence drops at all.
    """
    if bool((_trial(view, generator) != 0).all()):
        return torch.ones_like(view.sent)
    seen = view.sent != 0
    if view.defence.repeat == "fixed":
        seen = seen.any(0, keepdim=True).expand_as(seen)
    return seen.float()


def gain(view: WhiteBoxView, generator: torch.Generator) -> float:
    """Return the defence's output for a 1 that it keeps: 1 / (1 - share) for scaled dropping."""
    trial = _trial(view, generator)
    through = trial[trial != 0]
    return float(through.median()) if len(through) else 1.0


def _trial(view: WhiteBoxView, generator: torch.Generator) -> torch.Tensor:
    """Return the defence's output for ones, on a device of the attacker's own."""
    return view.defence.transform(torch.ones_like(view.sent[:1]), SeededDraws(generator, 1))


def _target(view: WhiteBoxView, settings: WhiteBoxSettings, generator: torch.Generator) -> _Target:
    if not settings.masked:
        return _Target(view.sent, torch.ones_like(view.sent))
    return _Target(view.sent / gain(view, generator), kept(view, generator))


def _pixels(point: torch.Tensor) -> torch.Tensor:
    """Map [-1, 1] to [0, 1]. The paper scales by each data set's own mean; for MNIST this is it."""
    return 0.5 + 0.5 * point


def _counted(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    if progress is None:
        return lambda step: None
    return lambda step: progress("search", done + step, total)
