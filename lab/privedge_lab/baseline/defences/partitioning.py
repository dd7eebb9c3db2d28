"""Privacy Partitioning (Chi et al. 2018, arXiv 1812.02863): train the head against attackers.

"Interactive adversarial training": the attackers are a decoder that reconstructs the image, and
classifiers that guess a private attribute. Before each step of the network, they take a few steps
on what would be sent. The network then takes its step for its task and against them. The paper's
settings are not public. The objective follows the same authors' arXiv 1906.07902, made bounded:

- Against a classifier: "confusion", the Kullback-Leibler divergence of its guess from the
  attribute's prior, over the prior's entropy. (Its negative cross entropy has no least value.)
- Against the decoder: its gain over the mean image, 1 - error / error of the mean image, never
  below 0.

Both are 0 if the attacker learns nothing, and about 1 if it learns all. `strength` weighs them. A
defence trained against one attacker proves nothing about the next: measure it with fresh ones.
"""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from privedge.errors import ConfigError
from privedge_lab.baseline.defence import Defence
from privedge_lab.baseline.draws import Repeat
from privedge_lab.datasets import Labelled

_STEPS = 4
_RATE = 2e-3
# Attackers of different sizes: a head that deceives one of them rarely deceives all.
_WIDTHS = (32, 128, 256)
_HIDDEN = 64
_CHANNELS = 32
_LEAST_SPREAD = 1e-4


class Partitioning(Defence):
    """Change nothing when asking: the training is the defence."""

    name: ClassVar[str] = "partitioning"
    trains: ClassVar[bool] = True

    def __init__(
        self,
        strength: float = 0.0,
        repeat: Repeat = "per-input",
        *,
        measuring: bool = False,
        private: str | None = None,
    ) -> None:
        """`private`: the fact of the training images to hide; None to resist the decoder only."""
        super().__init__(strength, repeat, measuring=measuring)
        self.private = private

    def begin(self, head: nn.Sequential, data: Labelled, generator: torch.Generator) -> None:
        """As Defence says. Raises ConfigError if the images lack the private fact."""
        with torch.no_grad():
            sent = head(data.images[:2])
        self._mean = data.images.mean(0)
        self._floor = (data.images - self._mean).square().mean()
        self._decoder = _seeded(decoder(tuple(sent.shape[1:]), data.images[0]), generator)
        self._classifiers = nn.ModuleList()
        if self.private is not None:
            self._prior = prior(data, self.private)
            values = sent[0].numel()
            self._classifiers.extend(
                _seeded(_classifier(values, width, len(self._prior)), generator)
                for width in _WIDTHS
            )
        learners = [*self._decoder.parameters(), *self._classifiers.parameters()]
        self._optimiser = torch.optim.Adam(learners, lr=_RATE)

    def learn(self, batch: Labelled, sent: torch.Tensor) -> None:
        """As Defence says: each attacker takes its steps."""
        for _ in range(_STEPS):
            loss = functional.mse_loss(self._decoder(sent), batch.images) / self._floor
            for classifier in self._classifiers:
                guess = classifier(sent)
                loss = loss + functional.cross_entropy(guess, batch.facts[str(self.private)])
            self._optimiser.zero_grad()
            loss.backward()
            self._optimiser.step()

    def penalty(self, batch: Labelled, values: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        """As Defence says."""
        error = functional.mse_loss(self._decoder(sent), batch.images)
        feared = functional.relu(1 - error / self._floor)
        if len(self._classifiers):
            feared = (
                feared + torch.stack([self._confusion(c(sent)) for c in self._classifiers]).mean()
            )
        return self.strength * feared

    def _confusion(self, guess: torch.Tensor) -> torch.Tensor:
        entropy = -(self._prior * self._prior.log()).sum()
        target = self._prior.expand_as(guess)
        gap = functional.kl_div(guess.log_softmax(1), target, reduction="batchmean")
        return gap / entropy


class _Standard(nn.Module):
    """Scale each value to mean 0 and deviation 1 over the batch: small values hide nothing."""

    def forward(self, sent: torch.Tensor) -> torch.Tensor:
        spread = sent.std(0, keepdim=True, unbiased=False)
        return (sent - sent.mean(0, keepdim=True)) / (spread + _LEAST_SPREAD)


def decoder(sent: tuple[int, ...], image: torch.Tensor) -> nn.Sequential:
    """Build a network from activations float32 (n, *sent) to images (n, *image.shape) in (0, 1)."""
    channels, height, width = image.shape
    if len(sent) == 3:
        return nn.Sequential(
            _Standard(),
            nn.Conv2d(sent[0], _CHANNELS, 3, padding=1),
            nn.ReLU(),
            nn.Upsample((height, width), mode="bilinear"),
            nn.Conv2d(_CHANNELS, channels, 5, padding=2),
            nn.Sigmoid(),
        )
    return nn.Sequential(
        _Standard(),
        nn.Linear(sent[0], _HIDDEN),
        nn.ReLU(),
        nn.Linear(_HIDDEN, image.numel()),
        nn.Sigmoid(),
        nn.Unflatten(1, (channels, height, width)),
    )


def _classifier(values: int, width: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), _Standard(), nn.Linear(values, width), nn.ReLU(), nn.Linear(width, classes)
    )


def prior(data: Labelled, private: str) -> torch.Tensor:
    """Return the share of the images that has each value of a fact: float32 (values,).

    Raises ConfigError if the images lack the fact, or it has fewer than two values.
    """
    if private not in data.facts:
        raise ConfigError(
            f"{private}: the images have no such fact; they have {', '.join(data.facts) or 'none'}"
        )
    values = data.facts[private]
    if int(values.min()) < 0 or len(values.unique()) < 2:
        raise ConfigError(f"{private}: needs at least two values, none of them negative")
    counts = torch.bincount(values).float()
    # A value that no image has would make the divergence infinite.
    return (counts + 1e-6) / (counts + 1e-6).sum()


def _seeded(network: nn.Sequential, generator: torch.Generator) -> nn.Sequential:
    for module in network:
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
