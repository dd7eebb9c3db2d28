"""Privacy Partitioning, balanced after training on images that the network was not trained on.

Attackers trained beside the network can miss a leak on its training images that shows on others. A
network that has memorised some hundred images leaks in values that training never produced.
Therefore:

- The device makes its own guess of the private fact. The last values of the cut, one fewer than
  the fact has values, are trained to be the fact's log odds, and are never sent. The other values,
  z, are trained with the task and against the attackers, as in Partitioning, `strength` included.
- The device sends z - share (p - prior) B in place of z, where p is the guess as probabilities. The
  matrix B makes the mean of z equal for all values of the private fact. It is found on the outputs
  of networks that were trained without the image in question (cross-fitting). The share is
  `strength`, but at most 1.

For a fact of two values, B is one number for each value sent: the difference of its means, divided
by the difference of the means of p. So a guess that is often wrong removes no less. Equal means
leave nothing to a linear attacker. What remains is in the shapes of the distributions.
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
    """Keep the cut's last values on the device, and remove what they know from the others."""

    name: ClassVar[str] = "balanced-partitioning"
    folds: ClassVar[int] = 4
    # Set by `begin` or `restore`, empty before. There is one entry for each value of the fact but
    # the first: the value's share of the images, and its row of share * B.
    _shares = torch.empty(0)
    _balance = torch.empty((0, 0))

    def begin(self, head: nn.Sequential, data: Labelled, generator: torch.Generator) -> None:
        """As Defence says.

        Raises ConfigError without a private fact, or if the cut is not a list of more values than
        the guess needs.
        """
        if self.private is None:
            raise ConfigError(f"{self.name}: name the private fact that is to be hidden")
        self._shares = prior(data, self.private)[1:]
        with torch.no_grad():
            shape = head(data.images[:1]).shape
        guesses = len(self._shares)
        if len(shape) != 2 or shape[1] <= guesses:
            raise ConfigError(
                f"{self.name}: cut at a layer with a list of more than {guesses} outputs; "
                f"{guesses} of them guess {self.private} and stay on the device"
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
        """As Defence says; includes the loss that trains the guess."""
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
        """Return the fold's outputs for its unseen images, in terms of the deployed `head`.

        These are the values beside the guess, the guess as probabilities, and the private fact. Two
        networks that learnt the same may express it with other signs and scales. The images that
        both have seen show how to translate.
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
    """Split values into those to be sent and the guess, which has as many as `shares`."""
    return values[:, : -len(shares)], values[:, -len(shares) :]


def _translated(before: torch.Tensor, after: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Map `values` linearly, as fits `before` to `after`: two networks' outputs for one input."""
    centre, middle = before.mean(0), after.mean(0)
    turn: torch.Tensor = torch.linalg.lstsq(before - centre, after - middle).solution
    # The less the two agree, the more least squares shrink the values.
    turn = turn * (after.std(0) / ((before - centre) @ turn).std(0).clamp(min=_TINY))
    return (values - centre) @ turn + middle


def _with_first(guess: torch.Tensor) -> torch.Tensor:
    """Return the logits of all values of the fact; the first value's are 0."""
    return torch.cat([torch.zeros_like(guess[:, :1]), guess], 1)


def _chances(guess: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of all values of the fact but the first."""
    return _with_first(guess).softmax(1)[:, 1:]


def _contrasts(values: torch.Tensor, of: torch.Tensor) -> torch.Tensor:
    """Return the means of `values` at each value of the fact but the first, minus the first's."""
    means = torch.stack([values[of == which].mean(0) for which in of.unique()])
    return means[1:] - means[:1]
