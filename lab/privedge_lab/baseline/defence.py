"""What a device does to its activations before they leave. One interface for every defence.

    training:  sent = transform(head(x), seeded draws)       loss = task(tail(sent)) + penalty(...)
    asking:    sent = transform(head(x), keyed draws)

A defence without randomness ignores the draws. One that does not take part in training (`trains`
is false) is put on a network trained without any: only its `finish` is called.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from privedge.errors import ConfigError
from privedge_lab.baseline.draws import Draws, KeyedDraws, Repeat
from privedge_lab.datasets import Labelled


class Defence:
    """No defence, and the base of all others. `strength` is the one number a sweep varies."""

    name: ClassVar[str] = "none"
    # Whether the network is trained with it. What does not train can share one trained network.
    trains: ClassVar[bool] = False
    # For `calibrate`: into how many parts training cuts its images; 0 for defences without it.
    folds: ClassVar[int] = 0
    # For each way of repeating that gives the secret away: how.
    unsafe: ClassVar[Mapping[Repeat, str]] = {}

    def __init__(
        self, strength: float = 0.0, repeat: Repeat = "per-input", *, measuring: bool = False
    ) -> None:
        """`measuring`: take an unsafe `repeat`, to show what it costs. Raises ConfigError."""
        if repeat in self.unsafe and not measuring:
            raise ConfigError(f"{self.name}: {repeat} draws are unsafe: {self.unsafe[repeat]}")
        low, high = self.strengths()
        if not low <= strength < high:
            below = "" if math.isinf(high) else f" and below {high:g}"
            raise ConfigError(f"{self.name}: strength must be at least {low:g}{below}")
        self.strength = strength
        self.repeat = repeat

    @classmethod
    def strengths(cls) -> tuple[float, float]:
        """The smallest strength, and what all are below."""
        return 0.0, math.inf

    def begin(self, head: nn.Sequential, data: Labelled, generator: torch.Generator) -> None:
        """Before the first step of training: `head` as initialised, all training images."""

    def learn(self, batch: Labelled, sent: torch.Tensor) -> None:
        """Before each step: train adversaries on what would be sent (detached)."""

    def transform(self, sent: torch.Tensor, draws: Draws) -> torch.Tensor:
        """What leaves the device for activations (n, ...): same shape, differentiable in `sent`."""
        return sent

    def penalty(self, batch: Labelled, values: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        """What to add to the task's loss for this batch: a scalar. `values` are the head's."""
        return torch.zeros(())

    def finish(self, head: nn.Sequential, data: Labelled) -> None:
        """After the last step: calibrate on the trained `head`, which is in eval mode."""

    def calibrate(self, head: nn.Sequential, folds: "Sequence[Fold]") -> None:
        """After that, if there are `folds`: heads like `head` on images that they never saw."""

    def learned(self) -> dict[str, float]:
        """What `finish` and `calibrate` found, for the file that keeps the head; not secret."""
        return {}

    def restore(self, learned: Mapping[str, float]) -> None:
        """In place of both: take what `learned` gave. Raises ConfigError if it does not fit."""
        if learned:
            raise ConfigError(f"{self.name}: keeps nothing, but the file has {', '.join(learned)}")


@dataclass(frozen=True)
class Fold:
    """A head trained in the same way as the one that counts, but only on `seen`. Together with
    `unseen` these are all training images.
    """

    head: nn.Sequential
    seen: Labelled
    unseen: Labelled


class Device:
    """The trusted side: head, defence and key. What `send` returns, a server sees."""

    def __init__(self, head: nn.Sequential, defence: Defence, key: bytes) -> None:
        """`key`: KEY_BYTES secret bytes; the same at every device of a `fixed` deployment."""
        self._head, self._defence, self._key = head.eval(), defence, key

    @torch.no_grad()
    def send(self, images: torch.Tensor) -> torch.Tensor:
        """Activations for pixels (n, C, H, W) in [0, 1], defended."""
        draws = KeyedDraws(self._key, images, self._defence.repeat)
        return self._defence.transform(self._head(images), draws)
