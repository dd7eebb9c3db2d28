"""Attribute inference: read a private fact (gender, ...) from what a device sends.

An adversarial defence may learn to beat only the attacker that it met in training
(docs/explanation/references.md#crafter). So every attacker here is trained from scratch on frozen
values: three architectures, several seeds each, and the strongest counts. The strongest attacker
is chosen on held-out images of the attacker. The best score on the images under attack is reported
as well. It is an upper bound: no attacker could have made that choice.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from privedge.errors import TrainingError
from privedge.progress import Progress
from privedge_lab.attacks import scores
from privedge_lab.attacks.views import AttributeView

_BATCH = 64
# The fewest known images, the held-out ones included.
_FEWEST = 20
_HIDDEN = 256
# Maps this small have no neighbourhoods worth a convolution.
_LEAST_SIDE = 4
_FLAT_STD = 1e-6


@dataclass(frozen=True)
class AttackerSettings:
    """How fresh attackers are trained; the same settings and view give the same scores.

    `validation_share` of the known images are held out. An attacker stops after `patience` epochs
    without a lower loss on them, and keeps the weights of its best epoch.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 40
    patience: int = 8
    rate: float = 1e-3
    decay: float = 1e-2
    validation_share: float = 0.2


@dataclass(frozen=True)
class Attacker:
    """One attacker's accuracy: on its held-out images, and on the images under attack."""

    architecture: str
    seed: int
    validation: float
    test: scores.Mean


@dataclass(frozen=True)
class AttributeScore:
    """The result of attribute inference.

    `strongest` is the attacker with the best validation score. `bound` is the one with the best
    test score; it is chosen in hindsight, so it is optimistic. `majority` is the accuracy of always
    guessing the most frequent value of the attacked images.
    """

    strongest: Attacker
    bound: Attacker
    majority: float
    attackers: tuple[Attacker, ...]

    @property
    def above_majority(self) -> float:
        """Return how far the strongest attacker exceeds `majority`: 0.08 is 8 points."""
        return self.strongest.test.value - self.majority


def infer_attribute(
    view: AttributeView,
    attribute: torch.Tensor,
    settings: AttackerSettings | None = None,
    *,
    progress: Progress | None = None,
) -> AttributeScore:
    """Train attackers on the view and compare their guesses with `attribute`, int64 (n,).

    `sent` (n, ...) and `known_sent` (m, ...) are float32 and of one shape but for n and m. A view
    of the logits gives the floor: what the final output reveals, whatever crosses before it.
    `progress` gets the numbers of attackers done and in all. Raises TrainingError for a view that
    nothing can be learnt from.
    """
    settings = settings or AttackerSettings()
    _check(view, attribute)
    classes = 1 + int(max(view.known_attribute.max(), attribute.max()))
    plan = [(name, seed) for name in _ARCHITECTURES for seed in settings.seeds]
    found: list[Attacker] = []
    for name, seed in plan:
        found.append(_attacked(view, attribute, classes, (name, seed), settings))
        if progress is not None:
            progress("attack", len(found), len(plan))
    return AttributeScore(
        strongest=max(found, key=lambda each: each.validation),
        bound=max(found, key=lambda each: each.test.value),
        majority=scores.majority_rate(attribute),
        attackers=tuple(found),
    )


def _attacked(
    view: AttributeView,
    attribute: torch.Tensor,
    classes: int,
    which: tuple[str, int],
    settings: AttackerSettings,
) -> Attacker:
    name, seed = which
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(view.known_sent), generator=generator)
    held_out = max(1, round(settings.validation_share * len(order)))
    ours, theirs = order[held_out:], order[:held_out]
    scale = _Standard(view.known_sent[ours])
    known = scale(view.known_sent), view.known_attribute
    network = _ARCHITECTURES[name](tuple(view.sent.shape[1:]), classes)
    _draw(network, generator)
    _fit(
        network,
        (known[0][ours], known[1][ours]),
        (known[0][theirs], known[1][theirs]),
        settings,
        generator,
    )
    validation = scores.accuracy(_guesses(network, known[0][theirs]), known[1][theirs])
    test = scores.accuracy(_guesses(network, scale(view.sent)), attribute)
    return Attacker(name, seed, validation.value, test)


Examples = tuple[torch.Tensor, torch.Tensor]


def _fit(
    network: nn.Sequential,
    ours: Examples,
    held_out: Examples,
    settings: AttackerSettings,
    generator: torch.Generator,
) -> None:
    """Train `network`; leave it in eval mode with the weights of its best epoch."""
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.rate, weight_decay=settings.decay
    )
    best, kept, waited = float("inf"), _copy(network), 0
    for _ in range(settings.epochs):
        network.train()
        for index in torch.randperm(len(ours[0]), generator=generator).split(_BATCH):
            if len(index) == 1:
                continue  # batch normalisation needs two
            optimiser.zero_grad()
            functional.cross_entropy(network(ours[0][index]), ours[1][index]).backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            loss = float(functional.cross_entropy(network(held_out[0]), held_out[1]))
        waited += 1
        if loss < best:
            best, kept, waited = loss, _copy(network), 0
        if waited == settings.patience:
            break
    network.load_state_dict(kept)
    network.eval()


@torch.no_grad()
def _guesses(network: nn.Sequential, sent: torch.Tensor) -> torch.Tensor:
    return torch.cat([network(part).argmax(1) for part in sent.split(500)])


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.clone() for name, values in network.state_dict().items()}


class _Standard:
    """Scale each value to mean 0 and standard deviation 1 on the attacker's own images."""

    def __init__(self, sent: torch.Tensor) -> None:
        self._mean = sent.mean(0)
        std = sent.std(0)
        # A value that never changes says nothing; dividing by its deviation would divide by 0.
        self._std = torch.where(std > _FLAT_STD, std, torch.ones_like(std))

    def __call__(self, sent: torch.Tensor) -> torch.Tensor:
        # A value that was constant so far may be huge later; no attacker gains by one huge value.
        return ((sent - self._mean) / self._std).clamp(-8, 8)


def _linear(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), classes))


def _mlp(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(torch.Size(shape).numel(), _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, classes),
    )


def _deep(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Convolutions where the values have a place, else a deeper and wider MLP."""
    if len(shape) == 3 and min(shape[1:]) >= _LEAST_SIDE:
        return nn.Sequential(
            nn.Conv2d(shape[0], 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(256, classes),
        )
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(torch.Size(shape).numel(), 2 * _HIDDEN),
        nn.BatchNorm1d(2 * _HIDDEN),
        nn.ReLU(),
        nn.Linear(2 * _HIDDEN, _HIDDEN),
        nn.BatchNorm1d(_HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, classes),
    )


_ARCHITECTURES: dict[str, Callable[[tuple[int, ...], int], nn.Sequential]] = {
    "linear": _linear,
    "mlp": _mlp,
    "deep": _deep,
}


def _draw(network: nn.Sequential, generator: torch.Generator) -> None:
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _check(view: AttributeView, attribute: torch.Tensor) -> None:
    if view.sent.shape[1:] != view.known_sent.shape[1:]:
        raise TrainingError(
            f"attacked activations have shape {tuple(view.sent.shape[1:])}, "
            f"known ones {tuple(view.known_sent.shape[1:])}: take both from the same cut"
        )
    if len(view.sent) != len(attribute) or len(view.known_sent) != len(view.known_attribute):
        raise TrainingError("there must be one attribute for each image")
    if len(view.known_attribute.unique()) < 2 or len(view.known_attribute) < _FEWEST:
        raise TrainingError(
            f"the attacker needs {_FEWEST} known images with at least two values of the attribute"
        )
