"""Whose RAN reconstructs best, and is that good enough? (protocol.md 6)

    best, second = two least d_j
    bound  = margin * ((1 - mean_share) * d_second + mean_share * mean of all d_j)
    answer = one-hot(best) * [d_best < bound] * [d_best < threshold_best]

Nothing is opened here, and all zero means "unknown". The margin is at most 1, so of up to 16 owners

    answer_i = 1  if  d_i < margin * d_j for all j != i, and d_i < threshold_i

can be compared all at once, with no best owner found before: at most one can pass. Of more owners
groups of up to 16 each send up their best, until 16 are left: what is compared for these, besides,
is the runner-up each had in its groups. So a level takes one comparison, and one choice by rank or
by how many comparisons failed: 5 rounds with the fused engine, and there are ceil(log16 N) levels.

With a share of the mean, d_i < d_j is compared as well, because two owners may be below it, and the
mean takes a round before: the sum of all d_j is local, but must be truncated to be multiplied.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Generic

import torch

from privedge.errors import ShareError
from privedge.mpc.engine import Engine, T
from privedge.sharing.fixed_point import FRACTIONAL_BITS, MAGNITUDE_BITS, SCALE

GROUP = 16

# The margin is public and held in 1/1024 steps: with MAX_IMAGES_OF_ONE_SUBJECT = 2^5 summed images
# d * 1024 stays below 2^(47 + 5 + 10) and cannot wrap.
MARGIN_STEPS = 1 << 10

# The mean is that of sums of so many distances, each at most 2^52: such a sum can be truncated.
SUMMED = 1 << 10

# Fills up a group: larger than any real dissimilarity, so it never wins. A group never has more
# than one of it and at least 8 owners, so it never is the runner-up either.
_NEVER = 1 << (MAGNITUDE_BITS + 5)


@dataclass(frozen=True)
class RuleConstants:
    """The public constants in whole numbers, for a cohort of N:

        MARGIN_STEPS * best < second * (second best) + mean * floor(sum of all d / 2^16)

    `mean` is 0 where the mean cannot matter: without a share of it, for one owner, and with a
    margin of 1, which always names the best. Neither side reaches 2^63: the last product is at most
    MARGIN_STEPS times the mean d, whatever N.
    """

    second: int
    mean: int

    @staticmethod
    def of(margin: float, mean_share: float, owners: int) -> "RuleConstants":
        """`margin`: more than 0, at most 1; `mean_share`: 0 to 1. ShareError otherwise."""
        if not 0 < margin <= 1:
            raise ShareError(f"margin: more than 0 and at most 1, not {margin}")
        if not 0 <= mean_share <= 1:
            raise ShareError(f"mean_share: between 0 and 1, not {mean_share}")
        steps = margin * MARGIN_STEPS
        if mean_share == 0 or owners == 1 or round(steps) == MARGIN_STEPS:
            return RuleConstants(round(steps), 0)
        mean = round(steps * mean_share * (1 << FRACTIONAL_BITS) / owners)
        return RuleConstants(round(steps * (1 - mean_share)), mean)


@dataclass(frozen=True)
class _Bound(Generic[T]):
    """What the best must be below: so much of each rival, and, unless it is None, (B,) besides."""

    second: int
    mean: T | None


@dataclass(frozen=True)
class _Field(Generic[T]):
    """C contestants, each one owner or the best of several.

    `facts` (B, C, 2 + R): dissimilarity, threshold, and the R runners-up it beat on its way.
    `hot` (B, C, K): the one-hot of the owner within those it stands for, `owners` (C, K): their
    positions, -1 for none. At first K is 1, and `hot` is None because it is 1 for everyone.
    """

    facts: T
    hot: T | None
    owners: torch.Tensor


class Decision(Generic[T]):
    """The decision rule of one cohort over one number type."""

    def __init__(self, engine: Engine[T], *, margin: float, mean_share: float = 0.0) -> None:
        """Raises ShareError as RuleConstants.of does."""
        RuleConstants.of(margin, mean_share, 1)
        self._engine = engine
        self._rule = margin, mean_share

    def answer(self, distances: T, thresholds: T) -> T:
        """distances: (B, N) at 2f; thresholds: (N,) at 2f. Returns (B, N) integers 0 or 1."""
        batch, owners = distances.size()
        limits = thresholds.reshape(1, owners).expand(batch, owners)
        facts = self._engine.joined([distances.unsqueeze(2), limits.unsqueeze(2)], 2)
        field = _Field(facts, None, torch.arange(owners).unsqueeze(1))
        bound = self._bound(distances)
        while field.owners.size(0) > GROUP:
            field = self._best_of_groups(field)
        return self._known(field, bound)

    def _bound(self, distances: T) -> _Bound[T]:
        """Of (B, N). A mean takes a round."""
        weights = RuleConstants.of(*self._rule, distances.size(1))
        if not weights.mean:
            return _Bound(weights.second, None)
        sums = [
            distances[:, start : start + SUMMED].sum(1).unsqueeze(1)
            for start in range(0, distances.size(1), SUMMED)
        ]
        parts = self._engine.truncate(self._engine.joined(sums, 1))
        return _Bound(weights.second, self._engine.scaled(parts.sum(1), weights.mean))

    def _best_of_groups(self, field: _Field[T]) -> _Field[T]:
        """The best of each group, what belongs to it, and the runner-up it beat."""
        engine, known = self._engine, field.facts.size(2)
        parts = [field.facts] if field.hot is None else [field.facts, field.hot]
        grouped = self._grouped(engine.joined(parts, 2))
        batch, groups, count, width = grouped.size()
        places, chosen = engine.chosen(
            self._ranks(grouped[:, :, :, 0]).reshape(-1),
            grouped.reshape(-1, width),
            below=count,
            places=2,
        )
        chosen = chosen.reshape(2, batch, groups, count, width)
        facts = engine.joined([chosen[0, :, :, :, :known].sum(2), chosen[1, :, :, :, :1].sum(2)], 2)
        hot = places[0] if field.hot is None else chosen[0, :, :, :, known:]
        return _Field(
            facts, hot.reshape(batch, groups, -1), _dealt_out(field.owners).reshape(groups, -1)
        )

    def _grouped(self, entries: T) -> T:
        """(B, C, w) -> (B, G, m, w) with m <= 16, dealt out in turn and filled up with _NEVER."""
        batch, count, width = entries.size()
        groups, size = _groups_of(count)
        missing = groups * size - count
        if missing:
            fillers = torch.zeros(groups * size, width, dtype=torch.int64)
            fillers[count:, 0] = _NEVER
            entries = self._engine.plus(self._engine.padded(entries, (0, 0, 0, missing)), fillers)
        grouped: T = entries.reshape(batch, size, groups, width).transpose(1, 2)
        return grouped

    def _ranks(self, values: T) -> T:
        """(B, G, m) -> how many of its group come before each: are less, or equal and earlier."""
        count = values.size(2)
        pairs = list(combinations(range(count), 2))
        first, second = map(list, zip(*pairs, strict=True))
        overtakes = self._engine.negative(values[:, :, second] - values[:, :, first])
        # Of i and a later j, j comes first if it overtakes; of an earlier j and i, j does unless i
        # overtakes. `at` has the row of each: those of the second kind follow, with a minus sign.
        signed = self._engine.joined([overtakes, self._engine.scaled(overtakes, -1)], 2)
        row = {pair: place for place, pair in enumerate(pairs)}
        at = [
            row[i, j] if i < j else len(pairs) + row[j, i]
            for i in range(count)
            for j in range(count)
            if i != j
        ]
        beaten = signed[:, :, at].reshape(*values.size(), count - 1).sum(3)
        return self._engine.plus(beaten, torch.arange(count, dtype=torch.int64))

    def _known(self, field: _Field[T], bound: _Bound[T]) -> T:
        """The answer of up to 16 contestants: the one-hot of the one that fails no comparison."""
        passed = self._comparisons(field.facts, bound)
        batch, count, needed = passed.size()
        if count == 1:
            alone: T = passed[:, :, 0]
            return alone
        failed = self._engine.plus(self._engine.scaled(passed.sum(2), -1), torch.tensor(needed))
        places = field.owners.numel() // count
        hot = field.facts[:, :, :0] if field.hot is None else field.hot
        best, chosen = self._engine.chosen(
            failed.reshape(-1), hot.reshape(batch * count, -1), below=needed + 1, places=1
        )
        answer = (best if field.hot is None else chosen).reshape(batch, count * places)
        fillers = int((field.owners < 0).sum())
        in_order: T = answer[:, field.owners.reshape(-1).argsort()[fillers:]]
        return in_order

    def _comparisons(self, facts: T, bound: _Bound[T]) -> T:
        """(B, C, 2 + R) -> (B, C, C - 1 + R + 1) of 0 or 1: what an answer must all pass; with a
        mean's part, C - 1 + R more. A runner-up may be as near as the best it lost to.
        """
        engine = self._engine
        batch, count = facts.size(0), facts.size(1)
        values = facts[:, :, 0]
        others = [j for i in range(count) for j in range(count) if i != j]
        rivals = engine.joined(
            [values[:, others].reshape(batch, count, count - 1), facts[:, :, 2:]], 2
        )
        close = engine.scaled(values, MARGIN_STEPS).unsqueeze(2).expand(
            *rivals.size()
        ) - engine.scaled(rivals, bound.second)
        within = (values - facts[:, :, 1]).unsqueeze(2)
        if bound.mean is None:
            return engine.negative(engine.joined([close, within], 2))
        close = close - bound.mean.reshape(batch, 1, 1).expand(*rivals.size())
        nearer = values.unsqueeze(2).expand(*rivals.size()) - rivals
        return engine.negative(engine.joined([nearer, close, within], 2))


def _groups_of(count: int) -> tuple[int, int]:
    """How many groups `count` contestants make, and their size: as equal as can be."""
    groups = -(-count // GROUP)
    return groups, -(-count // groups)


def _dealt_out(owners: torch.Tensor) -> torch.Tensor:
    """(C, K) -> (G, m, K): what `Decision._grouped` does, with -1 for the fillers."""
    groups, size = _groups_of(owners.size(0))
    filled = torch.nn.functional.pad(owners, (0, 0, 0, groups * size - owners.size(0)), value=-1)
    return filled.reshape(size, groups, -1).transpose(0, 1)


def doubled_thresholds(engine: Engine[T], thresholds: T, images: int) -> T:
    """(N, 1) at f -> (N,) at 2f, times the number of images whose distances are summed."""
    return engine.scaled(thresholds.reshape(-1), SCALE * images)
