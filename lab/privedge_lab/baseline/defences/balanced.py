"""Privacy Partitioning that goes on where training ends: on images the network was not trained on.

What attackers beside the network miss on its training images shows on others: a network that knows
some hundred images by heart gives it away in values it never practised. So here

- the device makes its own guess of the private fact: the last values of the cut, one less than the
  fact has values, are trained to be its log odds, and are never sent. The others, z, are trained
  with the task and against the attackers, as Partitioning says, `strength` included;
- then z - share (p - prior) B is sent in their place, p the guess as probabilities. B is the matrix
  with which the mean of z becomes the same for all values of the private fact, on values of
  networks that were trained without the image in question (cross-fitting). The share is
  `strength` too, up to 1.

For a fact of two values B is one number for each value sent: the difference of its means between
the two, over that of p, so that a guess that is often wrong takes no less out. Equal means leave a
linear attacker nothing; what the shapes of the distributions tell is left.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from privedge.errors import ConfigError
from privedge_lab.baseline.defence import Fold
from privedge_lab.baseline.defences.partitioning import Partitioning, prior
from privedge_lab.baseline.draws import Draws
from privedge_lab.datasets import Labelled

_TINY = 1e-6


class BalancedPartitioning(Partitioning):
    """Keeps the cut's last values on the device, and takes what they know out of the others."""

    name: ClassVar[str] = "balanced-partitioning"
    folds: ClassVar[int] = 4
    # Set by `begin` or `restore`: of each value of the fact but the first its share of the images,
    # and its row of the share of B. Empty before.
    _shares = torch.empty(0)
    _balance = torch.empty((0, 0))

    def begin(self, head: nn.Sequential, data: Labelled, generator: torch.Generator) -> None:
        """As Defence says. Raises ConfigError without a private fact, or if the cut is no list of
        more values than the fact needs.
        """
        if self.private is None:
            raise ConfigError(f"{self.name}: name the private fact that is to be hidden")
        self._shares = prior(data, self.private)[1:]
        with torch.no_grad():
            shape = head(data.images[:1]).shape
        guesses = len(self._shares)
        if len(shape) != 2 or shape[1] <= guesses:
            raise ConfigError(
                f"{self.name}: cut at a layer that puts out a list of more than {guesses}: as many "
                f"values guess {self.private}, and stay on the device"
            )
        self._balance = torch.zeros((guesses, shape[1] - guesses))
        super().begin(head, data, generator)

    def transform(self, sent: torch.Tensor, draws: Draws) -> torch.Tensor:
        """As Defence says; 0 in place of the guess. Raises ConfigError before training."""
        if not len(self._shares):
            raise ConfigError(f"{self.name}: it is not balanced; train the network with it")
        kept, guess = _divided(sent, self._shares)
        balanced = kept - (_chances(guess) - self._shares) @ self._balance
        return torch.cat([balanced, torch.zeros_like(guess)], 1)

    def penalty(self, batch: Labelled, values: torch.Tensor, sent: torch.Tensor) -> torch.Tensor:
        """As Defence says; the guess learns with it."""
        guess = _with_first(_divided(values, self._shares)[1])
        learning = functional.cross_entropy(guess, batch.facts[str(self.private)])
        return learning + super().penalty(batch, values, sent)

    @torch.no_grad()
    def calibrate(self, head: nn.Sequential, folds: Sequence[Fold]) -> None:
        """As Defence says: finds B."""
        unseen = zip(*(self._aligned(head, fold) for fold in folds), strict=True)
        kept, chances, of = (torch.cat(parts) for parts in unseen)
        whole = torch.linalg.pinv(_contrasts(chances, of)) @ _contrasts(kept, of)
        self._balance = min(1.0, self.strength) * whole

    def _aligned(
        self, head: nn.Sequential, fold: Fold
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of the fold's unseen images: what its head puts out beside the guess, and the guess as
        chances, both as `head` means them; and the private fact.

        Two networks that learnt the same may say it with other signs and scales: how to translate
        shows on the images that both have seen.
        """
        before = _divided(fold.head(fold.seen.images), self._shares)
        after = _divided(head(fold.seen.images), self._shares)
        values = _divided(fold.head(fold.unseen.images), self._shares)
        kept, guess = (_translated(*each) for each in zip(before, after, values, strict=True))
        return kept, _chances(guess), fold.unseen.facts[str(self.private)]

    def learned(self) -> dict[str, float]:
        """As Defence says: the prior and the share of B, by value of the fact."""
        found = {f"prior_{row}": float(share) for row, share in enumerate(self._shares, start=1)}
        for row, line in enumerate(self._balance, start=1):
            found |= {f"balance_{row}_{column}": float(each) for column, each in enumerate(line)}
        return found

    def restore(self, learned: Mapping[str, float]) -> None:
        """As Defence says."""
        rows = sum(name.startswith("prior_") for name in learned)
        columns = (len(learned) - rows) // max(1, rows)
        shares = [f"prior_{row + 1}" for row in range(rows)]
        places = itertools.product(range(rows), range(columns))
        balance = [f"balance_{row + 1}_{column}" for row, column in places]
        if not balance or {*shares, *balance} != set(learned):
            raise ConfigError(f"{self.name}: the file does not say how it is balanced; train again")
        if not all(math.isfinite(value) for value in learned.values()):
            raise ConfigError(f"{self.name}: the file holds values that are not finite")
        self._shares = torch.tensor([learned[name] for name in shares])
        self._balance = torch.tensor([learned[name] for name in balance]).view(rows, columns)


def _divided(values: torch.Tensor, shares: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is to be sent, and the guess: as many values as `shares`."""
    return values[:, : -len(shares)], values[:, -len(shares) :]


def _translated(before: torch.Tensor, after: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`values` as they would be said by who says `after` where the other says `before`."""
    centre, middle = before.mean(0), after.mean(0)
    turn: torch.Tensor = torch.linalg.lstsq(before - centre, after - middle).solution
    # Least squares make values smaller the less the two agree.
    turn = turn * (after.std(0) / ((before - centre) @ turn).std(0).clamp(min=_TINY))
    return (values - centre) @ turn + middle


def _with_first(guess: torch.Tensor) -> torch.Tensor:
    """Logits of all values of the fact: the first one's are 0."""
    return torch.cat([torch.zeros_like(guess[:, :1]), guess], 1)


def _chances(guess: torch.Tensor) -> torch.Tensor:
    """Probabilities of all values of the fact but the first."""
    return _with_first(guess).softmax(1)[:, 1:]


def _contrasts(values: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """Means of `values` over images of each value of the fact, less those of the first."""
    means = torch.stack([values[of == which].mean(0) for which in of.unique()])
    return means[1:] - means[:1]
