"""Whose RAN reconstructs best, and is that good enough? (docs/protocol.md#decision)

    best, second = two least d_j
    bound  = margin * ((1 - mean_share) * d_second + mean_share * mean of all d_j)
    answer = one-hot(best) * [d_best < bound] * [d_best < threshold_best]

No result is opened here, and all zero means "unknown". Up to 16 owners are compared all at once,
with no best owner found before:

    answer_i = 1  if  d_i < margin * d_j for all j != i, and d_i < threshold_i

At most one can pass, because the margin is at most 1. More owners are put into groups of up to 16,
and each group sends up its best, until 16 or fewer are left. Each of these is also compared with
the runner-up that it had in each of its groups. So a level is one comparison, and one choice by
rank or by how many comparisons failed: 5 rounds with the fused protocols. There are ceil(log16 N)
levels.

A large cohort first goes through levels of pairs (blocks.py), as many as schedule.py says: fewer
comparisons, more rounds.

With a share of the mean, two owners may be below the bound, so d_i < d_j is compared as well. The
mean needs one round more: the sum of all d_j is local, but must be truncated to be multiplied.

Public rivals r are never an answer. Each owner left at the end must also pass d_i < margin * d_r
for all r, in the same comparison. So a cohort of one owner can answer "unknown" as well. The first
of them may be public owners: they are contestants at the end, and have columns after the owners'.

The answer is one-hot or zero for all ring elements d_j, not only for distances: each owner left at
the end must also pass -slack <= d_i < most, and no two such can be below each other. Whatever else
is asked of an image is asked in the same comparison, and if it fails nobody passes.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Generic

import torch

from parties.mpc.blocks import best_of_blocks, row_of_owners
from parties.mpc.engine import Engine, T
from parties.mpc.fused.tuples import NIBBLES
from parties.mpc.schedule import GROUP, Levels, groups_of, schedule
from privedge.errors import ShareError
from privedge.ran.rivals import MAX_RIVALS
from privedge.sharing.fixed_point import FRACTIONAL_BITS, MAGNITUDE_BITS, SCALE
from privedge.sharing.known import MARGIN_STEPS as MARGIN_STEPS

# The margin is public and counted in MARGIN_STEPS = 2^10. With MAX_IMAGES_OF_ONE_SUBJECT = 2^5
# summed images d * 2^10 stays below 2^(47 + 5 + 10) and cannot wrap.

# So many distances are summed before a truncation: each is at most 2^52, so the sum is in range.
SUMMED = 1 << 10

# No dissimilarity reaches it, and MARGIN_STEPS times it stays below 2^63. Where a spec bounds
# dissimilarities, that bound is taken instead. It fills up groups and blocks: what has it never
# wins, and no rule is stricter because of it, since it is no nearer than any real runner-up.
_NEVER = 1 << (MAGNITUDE_BITS + 5)


_PLAIN = Levels()

# How many shapes' public indices are remembered.
_SHAPES = 1 << 8


@dataclass(frozen=True)
class RuleConstants:
    """The public constants of the rule in whole numbers, for a cohort of N:

        MARGIN_STEPS * best < second * (second best) + mean * floor(sum of all d / 2^16)

    `mean` is 0 where the mean cannot matter: without a share of it, for one owner, and with a
    margin of 1, which always names the best. Neither side reaches 2^63, so their comparison is
    exact: the last product is at most MARGIN_STEPS times the mean d, for any N.
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
    """What MARGIN_STEPS * best must be below: `second` times each rival, plus `mean` (B,), which is
    a share of the mean's part, or None for no such part.
    """

    second: int
    mean: T | None


@dataclass(frozen=True)
class _Field(Generic[T]):
    """C contestants for each of B images; each is one owner, or the best of K.

    facts    (B, C, 2 + R): dissimilarity, threshold, the R runners-up it beat on its way; secret
    hot      (B, C, K): which of its K owners it is, one-hot; secret. At first K is 1, and `hot` is
             None, because it would be 1 everywhere.
    of       how many owners there are in the cohort, and how many levels are below these C
    place    (B, C, 1), if what counts as an owner here is the best of a block: its place there,
             secret; else (B, C, 0)
    """

    facts: T
    hot: T | None
    of: tuple[int, int]
    place: T

    @property
    def owners(self) -> torch.Tensor:
        """(C, K): the positions of these owners, -1 for a filler; public."""
        return _positions(*self.of)


class Decision(Generic[T]):
    """The decision rule of one cohort over one number type."""

    def __init__(
        self,
        engine: Engine[T],
        *,
        margin: float,
        mean_share: float = 0.0,
        slack: int = 0,
        public_owners: int = 0,
        levels: Levels = _PLAIN,
    ) -> None:
        """`slack`, at 2f: a distance that rounding has brought so far below 0 counts as one.
        `public_owners`: so many of the rivals, the first ones, can be an answer.
        `levels`: how owners are narrowed down, and by how many bits.

        Raises ShareError as RuleConstants.of does.
        """
        RuleConstants.of(margin, mean_share, 1)
        self._bits, self._most = _compared(levels.between)
        self._plan = levels.plan
        self._engine = engine
        self._rule = margin, mean_share
        self._slack, self._public = slack, public_owners

    def answer(
        self, distances: T, thresholds: T, rivals: T | None = None, valid: T | None = None
    ) -> T:
        """distances: (B, N) at 2f; thresholds: (N,) at 2f; rivals: (B, M) at 2f, dissimilarities
        to public models; valid: (B, V), an image with any of them at 0 or above is answered with
        zeros. Returns (B, N + P) integers 0 or 1, for P public owners, in every row at most a
        single 1, for whatever distances, thresholds and `valid` are.

        All of it are shares; whose image it is, and who took part in which comparison with what
        outcome, is never opened. Rivals must be below 2^52, as distances. Raises ShareError for
        more than MAX_RIVALS or fewer than P, and for rivals together with a share of the mean.
        """
        self._check(rivals)
        batch, owners = distances.size()
        limits = thresholds.reshape(1, owners).expand(batch, owners)
        facts = self._engine.joined([distances.unsqueeze(2), limits.unsqueeze(2)], 2)
        plan = self._plan or schedule(owners)
        # 1. The mean's part of the bound, of all owners before any is left out.
        bound = self._bound(distances)
        # 2. In a large cohort: the best of each block of owners, and the runners-up it beat.
        facts, place = best_of_blocks(
            self._engine, facts, plan.pairs, bits=self._bits, filler=self._most
        )
        field = _Field(facts, None, (facts.size(1), 0), place)
        # 3. While there are more than 16: the best of each group, and the runner-up it beat.
        while field.owners.size(0) > GROUP:
            field = self._best_of_groups(field)
        # 4. Of those left, the one that passes every comparison, if there is one.
        row, best = self._known(field, bound, rivals, valid)
        if best is None:
            return row
        # 5. From blocks to owners; public owners follow.
        blocks = field.of[0]
        own = row_of_owners(self._engine, row[:, :blocks], best, plan.pairs, owners)
        return self._engine.joined([own, row[:, blocks:]], 1) if self._public else own

    def _check(self, rivals: T | None) -> None:
        if self._public > (0 if rivals is None else rivals.size(1)):
            raise ShareError(f"public owners: {self._public} are more than there are rivals")
        if rivals is None:
            return
        if rivals.size(1) > MAX_RIVALS:
            raise ShareError(f"rivals: at most {MAX_RIVALS}, not {rivals.size(1)}")
        # With the mean, a rival far away would lift the bound of everybody.
        if self._rule[1]:
            raise ShareError("rivals: not together with a mean_share")

    def _bound(self, distances: T) -> _Bound[T]:
        """The bound for distances (B, N) at 2f. One round, or none if the mean does not count."""
        weights = RuleConstants.of(*self._rule, distances.size(1))
        if not weights.mean:
            return _Bound(weights.second, None)
        # The public weight brings the scale back to 2f, and MARGIN_STEPS with it.
        return _Bound(weights.second, self._engine.scaled(self.summed(distances), weights.mean))

    def summed(self, distances: T) -> T:
        """The sum of distances (B, N) at 2f over all owners, (B,) at f. One round."""
        sums = [
            distances[:, start : start + SUMMED].sum(1).unsqueeze(1)
            for start in range(0, distances.size(1), SUMMED)
        ]
        # Local sums of at most SUMMED distances; then one truncation of all, which opens them under
        # fresh masks.
        total: T = self._engine.truncate(self._engine.joined(sums, 1)).sum(1)
        return total

    def best(self, distances: T) -> tuple[T, T]:
        """The least of distances (B, N) at 2f, (B,), and the runners-up that it beat, (B, R), one
        of which is the second least. 5 rounds for each of R = ceil(log16 N) levels.
        """
        # There are no thresholds here; that column is carried along and never looked at.
        facts = self._engine.joined([distances.unsqueeze(2)] * 2, 2)
        field = _Field(facts, None, (distances.size(1), 0), facts[:, :, :0])
        while field.owners.size(0) > 1:
            field = self._best_of_groups(field)
        return field.facts[:, 0, 0], field.facts[:, 0, 2:]

    def _best_of_groups(self, field: _Field[T]) -> _Field[T]:
        """The best of each group with what belongs to it, and the runner-up it beat. 5 rounds."""
        engine, known = self._engine, field.facts.size(2)
        parts = [field.facts, field.place]
        parts += [] if field.hot is None else [field.hot]
        grouped = self._grouped(engine.joined(parts, 2))
        batch, groups, count, width = grouped.size()
        # 4 rounds: all pairs of a group are compared, and ranks are sums of the bits; still shares.
        # 1 round: choose by rank. Rank 0 is the best, rank 1 the runner-up.
        places, chosen = engine.chosen(
            self._ranks(grouped[:, :, :, 0]).reshape(-1),
            grouped.reshape(-1, width),
            below=count,
            places=2,
        )
        chosen = chosen.reshape(2, batch, groups, count, width)
        # Local: of the products with [rank = 0] one in each group is not zero, so their sum is the
        # best's own facts. Of the runner-up only the dissimilarity is needed.
        facts = engine.joined([chosen[0, :, :, :, :known].sum(2), chosen[1, :, :, :, :1].sum(2)], 2)
        last = known + field.place.size(2)
        place = chosen[0, :, :, :, known:last].sum(2)
        hot = places[0] if field.hot is None else chosen[0, :, :, :, last:]
        owners, level = field.of
        return _Field(facts, hot.reshape(batch, groups, -1), (owners, level + 1), place)

    def _grouped(self, entries: T) -> T:
        """(B, C, w) -> (B, G, m, w), m <= 16: dealt out in turn, filled up with a distance that is
        no less than any. Local.
        """
        batch, count, width = entries.size()
        groups, size = groups_of(count)
        missing = groups * size - count
        if missing:
            fillers = torch.zeros(groups * size, width, dtype=torch.int64)
            fillers[count:, 0] = self._most
            entries = self._engine.plus(self._engine.padded(entries, (0, 0, 0, missing)), fillers)
        grouped: T = entries.reshape(batch, size, groups, width).transpose(1, 2)
        return grouped

    def _ranks(self, values: T) -> T:
        """(B, G, m) at 2f -> (B, G, m) integers: how many of its group come before each, because
        they are less, or equal and earlier.
        """
        count = values.size(2)
        first, second, at = _pairs(count)
        # One comparison a pair: does the later one overtake the earlier one?
        overtakes = self._engine.negative(
            values[:, :, second] - values[:, :, first], bits=self._bits
        )
        # Local: a later j comes before i if it overtakes i. An earlier j comes before i unless i
        # overtakes it, so it counts 1 - overtakes. `at` has the row of each pair; the rows of the
        # second kind follow, with a minus sign, and their ones are added at the end.
        signed = self._engine.joined([overtakes, self._engine.scaled(overtakes, -1)], 2)
        beaten = signed[:, :, at].reshape(*values.size(), count - 1).sum(3)
        return self._engine.plus(beaten, torch.arange(count, dtype=torch.int64))

    def _known(
        self, field: _Field[T], bound: _Bound[T], rivals: T | None, valid: T | None
    ) -> tuple[T, T | None]:
        """The answer (B, N) of up to 16 contestants: the one-hot of the one that fails no
        comparison, or zeros; and its place in the block, (B,), 0 beside zeros, None if there are no
        blocks. 5 rounds; 4 for a single owner of whom nothing else is asked.
        """
        facts, belonging, rivals = self._contestants(field, rivals)
        asked = self._comparisons(facts, bound, rivals)
        batch, count = asked.size()[:2]
        passed, needed = self._passed(asked, valid)
        if needed == 1:
            return passed, None
        # Local: how many each failed. It stays secret, for it would tell how close the owners are.
        failed = self._engine.plus(self._engine.scaled(passed, -1), torch.tensor(needed))
        # 1 round: [failed = 0], which at most one has, and its products with what belongs to each.
        best, chosen = self._engine.chosen(
            failed.reshape(-1), belonging.reshape(batch * count, -1), below=needed + 1, places=1
        )
        own = count - self._public
        of_each = chosen.reshape(batch, count, -1)[:, :own]
        known = 0 if field.hot is None else field.hot.size(2)
        below = best.reshape(batch, count)[:, :own] if field.hot is None else of_each[:, :, :known]
        # Public: back to the order of the owners; the public owners follow.
        row: T = below.reshape(batch, -1)[:, _order(*field.of)]
        if self._public:
            row = self._engine.joined([row, best.reshape(batch, count)[:, own:]], 1)
        # Local: all others' places are zeros now, so their sum is the place of the one that passed.
        place = of_each[:, :, known:].sum(1).reshape(batch) if field.place.size(2) else None
        return row, place

    def _contestants(self, field: _Field[T], rivals: T | None) -> tuple[T, T, T | None]:
        """Facts of those that are left and of the public owners, their one-hots and places, and
        the rivals that are none. Local.

        A public owner has no threshold, and needs no group: whoever is as near as it loses to it
        here. So it adds no level, and its own one-hot is [failed = 0].
        """
        hot = field.place
        if field.hot is not None:
            hot = self._engine.joined([field.hot, field.place], 2)
        if rivals is None or not self._public:
            return field.facts, hot, rivals
        engine, known = self._engine, field.facts.size(2)
        nothing = torch.tensor([0, *[_NEVER] * (known - 1)])
        alone = rivals[:, : self._public].unsqueeze(2)
        public = engine.plus(engine.padded(alone, (0, known - 1)), nothing)
        more = engine.padded(hot, (0, 0, 0, self._public)) if hot.size(2) else None
        facts = engine.joined([field.facts, public], 1)
        rest = rivals[:, self._public :] if self._public < rivals.size(1) else None
        return facts, facts[:, :, :0] if more is None else more, rest

    def _passed(self, asked: T, valid: T | None) -> tuple[T, int]:
        """How many of asked (B, C, K), and of valid (B, V) for every C, are below 0, (B, C); and
        K + V. All comparisons are one call, so they are 4 rounds together.
        """
        batch, count, needed = asked.size()
        if valid is None:
            return self._engine.negative(asked).sum(2), needed
        flat = [asked.reshape(batch, count * needed), valid]
        negative = self._engine.negative(self._engine.joined(flat, 1))
        own = negative[:, : count * needed].reshape(batch, count, needed).sum(2)
        common = negative[:, count * needed :].sum(1).unsqueeze(1)
        return own + common.expand(batch, count), needed + valid.size(1)

    def _comparisons(self, facts: T, bound: _Bound[T], rivals: T | None) -> T:
        """facts (B, C, 2 + R), rivals (B, M) -> (B, C, C - 1 + R + M + 3), or (B, 1, 1 + M) of a
        single owner: what must all be below 0 for an answer; with a mean's part, C - 1 + R more. A
        runner-up may be as near as the best it lost to. Local.
        """
        engine = self._engine
        batch, count = facts.size(0), facts.size(1)
        values = facts[:, :, 0]
        others = [values[:, _others(count)].reshape(batch, count, count - 1), facts[:, :, 2:]]
        if rivals is not None:
            others.append(rivals.unsqueeze(1).expand(batch, count, rivals.size(1)))
        against = engine.joined(others, 2)
        # Below 0 where MARGIN_STEPS * d_i < second * d_other, and where d_i < threshold_i.
        close = engine.scaled(values, MARGIN_STEPS).unsqueeze(2).expand(
            *against.size()
        ) - engine.scaled(against, bound.second)
        within = (values - facts[:, :, 1]).unsqueeze(2)
        own = [within, *([] if count == 1 and facts.size(2) == 2 else self._in_range(values))]
        if bound.mean is None:
            # All distances are counted from -slack, so that none is negative: of two negative ones
            # each could be below a part of the other.
            moved = (MARGIN_STEPS - bound.second) * self._slack
            close = engine.plus(close, torch.tensor(moved)) if moved else close
            return engine.joined([close, *own], 2)
        # With the mean's part on the right, two could pass that; so d_i < d_other is asked as well.
        close = close - bound.mean.reshape(batch, 1, 1).expand(*against.size())
        nearer = values.unsqueeze(2).expand(*against.size()) - against
        return engine.joined([nearer, close, *own], 2)

    def _in_range(self, values: T) -> list[T]:
        """Two (B, C, 1), below 0 where -slack <= d_i < most: there no two owners can be below each
        other, because no difference leaves the ring. Local.
        """
        too_far = self._engine.plus(values, torch.tensor(-self._most))
        below = self._engine.plus(self._engine.scaled(values, -1), torch.tensor(-self._slack - 1))
        return [too_far.unsqueeze(2), below.unsqueeze(2)]


def _compared(between: tuple[int, int] | None) -> tuple[int, int]:
    """How many bits tell which of two distances is less, and what none of them reaches."""
    if between is not None:
        least, most = between
        for bits in NIBBLES:
            if bits < max(NIBBLES) and most - least < 1 << bits:
                return bits, most
    return max(NIBBLES), _NEVER


def _dealt_out(owners: torch.Tensor) -> torch.Tensor:
    """(C, K) int64 -> (G, m, K): what `Decision._grouped` does, with -1 for the fillers."""
    groups, size = groups_of(owners.size(0))
    filled = torch.nn.functional.pad(owners, (0, 0, 0, groups * size - owners.size(0)), value=-1)
    return filled.reshape(size, groups, -1).transpose(0, 1)


@lru_cache(_SHAPES)
def _positions(owners: int, level: int) -> torch.Tensor:
    """`_Field.owners` after so many levels of groups."""
    if not level:
        return torch.arange(owners).unsqueeze(1)
    below = _positions(owners, level - 1)
    return _dealt_out(below).reshape(groups_of(below.size(0))[0], -1)


@lru_cache(_SHAPES)
def _order(owners: int, level: int) -> torch.Tensor:
    """Where in `_positions`, flat, each owner is. Fillers are sorted first, and are cut off."""
    flat = _positions(owners, level).reshape(-1)
    return flat.argsort()[flat.numel() - owners :]


@lru_cache(_SHAPES)
def _others(count: int) -> torch.Tensor:
    """For each i all j but i, below `count`."""
    others = [j for i in range(count) for j in range(count) if i != j]
    return torch.tensor(others, dtype=torch.int64)


@lru_cache(_SHAPES)
def _pairs(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All pairs i < j below `count`: every i and every j; and for each i and each j but i, where
    their pair is in the list of all pairs followed by all pairs again, there if j is less than i.
    """
    pairs = list(combinations(range(count), 2))
    row = {pair: place for place, pair in enumerate(pairs)}
    at = [
        row[i, j] if i < j else len(pairs) + row[j, i]
        for i in range(count)
        for j in range(count)
        if i != j
    ]
    first, second = map(torch.tensor, zip(*pairs, strict=True))
    return first, second, torch.tensor(at)


def doubled_thresholds(engine: Engine[T], thresholds: T, images: int) -> T:
    """(N, 1) at f -> (N,) at 2f, times the number of images whose distances are summed."""
    return engine.scaled(thresholds.reshape(-1), SCALE * images)
