"""Whose RAN reconstructs best, and is that good enough? (protocol.md 6)

    best, second = two least d_j         all pairs at once within groups of 16, ceil(log16 N) levels
    known = [d_best < margin * d_second] AND [d_best < threshold_best]
    answer = one-hot(best) * known       all zero = unknown

Nothing is opened here. Ties go to the owner who comes first in the snapshot.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Generic

import torch

from privedge.mpc.engine import Engine, T
from privedge.sharing.fixed_point import MAGNITUDE_BITS, SCALE

GROUP = 16

# The margin is public and held in 1/1024 steps: with MAX_IMAGES_OF_ONE_SUBJECT = 2^5 summed images
# d * 1024 stays below 2^(47 + 5 + 10) and cannot wrap.
MARGIN_STEPS = 1 << 10

# Fills up the last group: larger than any real dissimilarity, so it never wins.
_NEVER = 1 << (MAGNITUDE_BITS + 5)


@dataclass(frozen=True)
class _Ranked(Generic[T]):
    """Per group: the two least values (B, G) and the one-hot of the least (B, G, m)."""

    best: T
    second: T
    choice: T


class Decision(Generic[T]):
    """The decision rule of one cohort over one number type."""

    def __init__(self, engine: Engine[T], *, margin: float) -> None:
        self._engine = engine
        self._margin = round(margin * MARGIN_STEPS)

    def answer(self, distances: T, thresholds: T) -> T:
        """distances: (B, N) at 2f; thresholds: (N,) at 2f. Returns (B, N) integers 0 or 1."""
        owners = distances.size(1)
        if owners == 1:
            return self._engine.negative(distances - thresholds.reshape(1, 1))
        least = self._least(distances)
        limit = self._engine.multiply(
            least.choice, thresholds.reshape(1, owners).expand(*distances.size())
        ).sum(1)
        close = self._engine.scaled(least.best, MARGIN_STEPS) - self._engine.scaled(
            least.second, self._margin
        )
        within = least.best - limit
        checks = self._engine.negative(
            self._engine.joined([close.unsqueeze(0), within.unsqueeze(0)], 0)
        )
        known = self._engine.multiply(checks[0], checks[1])
        return self._engine.multiply(least.choice, known.unsqueeze(1).expand(*distances.size()))

    def _least(self, distances: T) -> _Ranked[T]:
        """The two least of (B, N) and the one-hot (B, N) of the least: a tournament of groups."""
        batch, owners = distances.size()
        ranked = self._ranked(self._grouped(distances, GROUP))
        choice = ranked.choice
        while (groups := ranked.best.size(1)) > 1:
            # A group sends its best and its second: the overall second may lose to the best early.
            width = min(GROUP, groups)
            upper = self._ranked(
                self._engine.joined(
                    [self._grouped(ranked.best, width), self._grouped(ranked.second, width)], 2
                )
            )
            winners = upper.choice[:, :, : upper.choice.size(2) // 2].reshape(batch, -1, 1)
            # Groups were filled up to make the upper level: so must be what they stand for.
            shaped = self._engine.padded(
                choice.reshape(batch, groups, -1), (0, 0, 0, winners.size(1) - groups)
            )
            choice = self._engine.multiply(shaped, winners.expand(*shaped.size()))
            ranked = upper
        return _Ranked(
            ranked.best.reshape(batch),
            ranked.second.reshape(batch),
            choice.reshape(batch, -1)[:, :owners],
        )

    def _grouped(self, values: T, size: int) -> T:
        """(B, N) -> (B, G, m) with m <= size as equal as can be, filled up with _NEVER."""
        batch, count = values.size()
        groups = -(-count // size)
        width = -(-count // groups)
        missing = groups * width - count
        if missing:
            values = self._engine.padded(values, (0, missing), _NEVER)
        grouped: T = values.reshape(batch, groups, width)
        return grouped

    def _ranked(self, values: T) -> _Ranked[T]:
        """Rank (B, G, m) within each group by comparing all pairs at once."""
        count = values.size(2)
        pairs = list(combinations(range(count), 2))
        first = [i for i, _ in pairs]
        second = [j for _, j in pairs]
        overtakes = self._engine.negative(values[:, :, second] - values[:, :, first])
        # rank_i counts who comes before i: a later j that is smaller, an earlier j that is not.
        tally = torch.zeros(len(pairs), count, dtype=torch.int64)
        tally[torch.arange(len(pairs)), first] = 1
        tally[torch.arange(len(pairs)), second] = -1
        rank = self._engine.plus(
            self._engine.combination(overtakes, tally), torch.arange(count, dtype=torch.int64)
        )
        below = [self._engine.plus(rank, torch.tensor([-place])).unsqueeze(0) for place in (1, 2)]
        within = self._engine.negative(self._engine.joined(below, 0), bits=16)
        places = self._engine.joined(
            [within[0].unsqueeze(0), (within[1] - within[0]).unsqueeze(0)], 0
        )
        chosen = self._engine.multiply(places, values.unsqueeze(0).expand(*places.size())).sum(3)
        return _Ranked(chosen[0], chosen[1], places[0])


def doubled_thresholds(engine: Engine[T], thresholds: T, images: int) -> T:
    """(N, 1) at f -> (N,) at 2f, times the number of images whose distances are summed."""
    return engine.scaled(thresholds.reshape(-1), SCALE * images)
