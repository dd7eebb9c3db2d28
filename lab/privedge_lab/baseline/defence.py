"""What a device does to its activations before they leave it: one interface for every defence.

    training:  sent = transform(head(x), seeded draws)       loss = task(tail(sent)) + penalty(...)
    asking:    sent = transform(head(x), keyed draws)

A defence without randomness ignores the draws. A defence with `trains` false has no part in
training: it is added to a network trained without a defence, and only its `finish` is called.
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
    """No defence, and the base of all others. A sweep varies `strength` alone."""

    name: ClassVar[str] = "none"
    # Whether the network is trained with it. Defences that do not train can share one network.
    trains: ClassVar[bool] = False
    # Into how many parts training cuts its images for `calibrate`; 0 for defences without it.
    folds: ClassVar[int] = 0
    # The unsafe ways of repeating: for each, how it gives the secret away.
    unsafe: ClassVar[Mapping[Repeat, str]] = {}

    def __init__(
        self, strength: float = 0.0, repeat: Repeat = "per-input", *, measuring: bool = False
    ) -> None:
        """Raises ConfigError for a strength out of range, or an unsafe `repeat`.

        `measuring` accepts an unsafe `repeat`, to show what it costs.
        """
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
        """Return the bounds of `strength`: at least the first, below the second."""
        return 0.0, math.inf

    def begin(self, head: nn.Sequential, data: Labelled, generator: torch.Generator) -> None:
        """Prepare for training, before its first step.

        `head` is as initialised; `data` has all training images.
        """

    def learn(self, batch: Labelled, sent: torch.Tensor) -> None:
        """Train adversaries on what would be sent (detached), before each step of training."""

    def transform(self, sent: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Return what leaves the device for activations float32 (n, ...).

        The result has the same shape and is differentiable in `sent`.
        """
        return sent

    def penalty(self, batch: Labelled, values: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        """Return what to add to the task's loss for this batch, a scalar.

        `values` are the head's activations, `sent` what `transform` made of them.
        """
        return torch.zeros(())

    def finish(self, head: nn.Sequential, data: Labelled) -> None:
        """Calibrate on the trained `head`, in eval mode, after the last step of training."""

    def calibrate(self, head: nn.Sequential, folds: "Sequence[Fold]") -> None:
        """Calibrate on heads like `head`, and on images that they never saw.

        This is called after `finish`, if the defence has `folds`.
        """

    def learned(self) -> dict[str, float]:
        """Return what `finish` and `calibrate` found, for the file of the head; not secret."""
        return {}

    def restore(self, learned: Mapping[str, float]) -> None:
        """Restore what `learned` returned, in place of `finish` and `calibrate`.

        Raises ConfigError if it does not fit.
        """
        if learned:
            raise ConfigError(f"{self.name}: keeps nothing, but the file has {', '.join(learned)}")


@dataclass(frozen=True)
class Fold:
    """A head trained like the deployed one, but only on `seen`.

    `seen` and `unseen` together are all training images.
    """

    head: nn.Sequential
    seen: Labelled
    unseen: Labelled


class Device:
    """The trusted side: head, defence and key. A server sees what `send` returns."""

    def __init__(self, head: nn.Sequential, defence: Defence, key: bytes) -> None:
        """`key`: KEY_BYTES secret bytes; the same at every device of a `fixed` deployment."""
        self._head, self._defence, self._key = head.eval(), defence, key

    @torch.no_grad()
    def send(self, images: torch.Tensor) -> torch.Tensor:
        """Return the defended activations of pixels float32 (n, C, H, W) in [0, 1]."""
        draws = KeyedDraws(self._key, images, self._defence.repeat)
        return self._defence.transform(self._head(images), draws)
