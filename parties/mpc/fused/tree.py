"""Which of two numbers is less, nibble by nibble, in one or two rounds.

A public c is compared with a secret r (docs/protocol.md#comparison). For each nibble of r the
dealer shares the table LT[v] = [v < nibble of r]. At the public nibble c_k shares of
lt = [c_k < r_k] and eq = [c_k = r_k] = LT[c_k - 1] ^ LT[c_k] are looked up. The tree then joins
neighbours by

    lt = lt_0 ^ eq_0 lt_1 ^ eq_0 eq_1 lt_2 ^ ...     eq = eq_0 eq_1 ...      (0: most significant)

a few at a time and then the groups. Each level opens its inputs once, each bit under a mask bit of
its own, so what is opened is uniform. With the dealer's shares of all products of these masks the
rest of a level is local. Every value is a row of packed bits (packing.py), XOR-shared; the last
dimensions are always (..., groups, W).
"""

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
import torch

from parties.mpc.compiled.ready import usable, words
from parties.mpc.fused.packing import WORD, planes

NIBBLE = 4
FAN_IN = 4
# How many neighbours the first level joins, where it is not FAN_IN: six nibbles as two groups of
# three, ten as five groups of two. The second level then joins all groups.
_FANS = {6: 3, 10: 2}
TABLE = 15  # LT[15] is 0 whatever the nibble.


@dataclass(frozen=True)
class Level:
    """Joins `fan` pairs (lt, eq) to one, in each of `groups`; the last level needs no eq.

    Each eq_i that is used is masked, and each lt_i but the first, which is not multiplied. A party
    has shares of one list of rows: the products of all sets of eq masks, set s in row s (row 0, of
    no mask, is 1); then for each lt mask, the last one first, its products with all sets of the eq
    masks before it. So rows that differ in one low eq mask are neighbours.
    """

    fan: int
    groups: int
    last: bool

    @property
    def factors(self) -> int:
        """How many eq_i are multiplied with anything."""
        return self.fan - 1 if self.last else self.fan

    @property
    def mask_rows(self) -> int:
        return len(self._mask_places) * self.groups

    @property
    def product_rows(self) -> int:
        return len(self._product_places) * self.groups

    def products(self, masks: torch.Tensor) -> torch.Tensor:
        """Dealer: the masks themselves, (mask_rows, W) with those of eq first -> their products,
        (product_rows, W).
        """
        rows = masks.view(-1, self.groups, masks.size(-1))
        # Bit i of a set's number says whether mask i of eq is in it; the empty product is all ones.
        sets = torch.full_like(rows[:1], -1)
        for mask in rows[: self.factors]:
            sets = torch.cat([sets, sets & mask])
        with_lt = [sets[: 2 << j] & rows[self.factors + j] for j in reversed(range(self.fan - 1))]
        return torch.cat([sets, *with_lt])[self._product_places].view(self.product_rows, -1)

    def hidden(self, lt: torch.Tensor, eq: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """Party: its share of what this level opens of lt, eq (fan, groups, W), under its share of
        the `masks` (mask_rows, W). The last eq of a last level and the first lt are not opened.
        """
        used = torch.cat([eq[: self.factors], lt[1:]])
        used ^= masks.view(used.shape)
        return used

    def join(
        self,
        first: torch.Tensor,
        seen: torch.Tensor,
        shares: tuple[torch.Tensor, torch.Tensor],
        *,
        one: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Party: shares of the joined lt and eq (groups, W).

        `first`: its share of lt[0], which is not opened. `seen`: what `hidden` opened to. `shares`:
        of masks and of products. `one`: this party's share of a word of ones. The eq of the last
        level is not computed: what is returned in its place means nothing. Local.
        """
        # The list of the class's docstring: row 0 is 1, then masks and products at their places.
        masks, products = shares
        known = seen.new_empty(self._known_rows, *seen.shape[1:])
        known[0] = one
        known[self._mask_places] = masks.view(seen.shape)
        known[self._product_places] = products.view(-1, *seen.shape[1:])
        joined = first
        for i in range(self.factors):
            # Put eq_i = seen_i ^ mask_i in place of its mask: each pair of rows, without and with
            # mask i, becomes seen_i * (without) ^ (with). That leaves half as many rows. The first
            # is then eq_0 ... eq_i, and the last is that times the mask of lt_(i + 1).
            replaced = known[0::2] & seen[i]
            replaced ^= known[1::2]
            known = replaced
            if i < self.fan - 1:
                # eq_0 ... eq_i lt_(i + 1), with lt_(i + 1) = seen ^ its mask.
                joined = joined ^ (known[0] & seen[self.factors + i]) ^ known[-1]
                known = known[:-1]
        return joined, known[0]

    def joined(
        self,
        first: torch.Tensor,
        halves: tuple[torch.Tensor, torch.Tensor],
        shares: tuple[torch.Tensor, torch.Tensor],
        following: torch.Tensor,
        *,
        one: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Party: `join`, and its share of what is opened next. Local.

        `halves`: the other party's and its own of what `hidden` opened to; the other one becomes
        what it opened to. `following`: its share of the next level's masks, or, at the last level,
        of t. Returns the next level's `first`, which means nothing at the last level, and what the
        next level hides of its inputs, or at the last level the result under t; both (rows, W).
        """
        theirs, mine = halves
        if not usable(theirs, mine):
            seen = theirs.bitwise_xor_(mine).view(-1, *first.shape)
            lt, eq = self.join(first, seen, shares, one=one)
            if self.last:
                return lt, lt ^ following
            above = Level(self.groups, 1, last=True)
            used = above.hidden(lt.unsqueeze(1), eq.unsqueeze(1), following)
            return lt[:1], used.view(following.shape)
        from parties.mpc.compiled import trees

        after, used = torch.empty_like(first[:1]), torch.empty_like(following)
        given = map(words, (first, theirs, mine, *shares, following))
        level = self.sources, self.factors, one % (1 << WORD)
        trees.join(*given, *level, words(after), words(used))
        return after, used

    @cached_property
    def sources(self) -> npt.NDArray[np.int64]:
        """For each row of the list what it is: product number k, or mask number -1 - k."""
        sources = np.zeros(self._known_rows, dtype=np.int64)
        sources[self._product_places.numpy()] = np.arange(len(self._product_places))
        sources[self._mask_places.numpy()] = -1 - np.arange(len(self._mask_places))
        return sources

    @cached_property
    def products_named(self) -> list[tuple[int, int]]:
        """Each product of `products`, in order, for one group: the set of its eq masks, as bits,
        and the number of its lt mask, or -1 for none.
        """
        names = [(row, -1) for row in range(1 << self.factors)]
        names += [(row, j) for j in reversed(range(self.fan - 1)) for row in range(2 << j)]
        return [names[place] for place in self._product_places.tolist()]

    @property
    def _known_rows(self) -> int:
        return (1 << self.factors) + (1 << self.fan) - 2

    @cached_property
    def _mask_places(self) -> torch.Tensor:
        """The rows that are masks themselves: first those of eq, then those of lt."""
        # The block of lt_(j + 1) has 2^(j + 1) rows, and the block of lt_1 is the last.
        of_lt = [self._known_rows + 2 - (4 << j) for j in range(self.fan - 1)]
        return torch.tensor([*(1 << i for i in range(self.factors)), *of_lt])

    @cached_property
    def _product_places(self) -> torch.Tensor:
        """The rows that are products of masks."""
        others = {0, *self._mask_places.tolist()}
        return torch.tensor([row for row in range(self._known_rows) if row not in others])


@cache
def levels(nibbles: int) -> tuple[Level, ...]:
    """The levels that join 4, 6, 8, 10, 12 or 16 nibbles."""
    fan = fan_of(nibbles)
    groups = nibbles // fan
    if groups == 1:
        return (Level(fan, 1, last=True),)
    return Level(fan, groups, last=False), Level(groups, 1, last=True)


def fan_of(nibbles: int) -> int:
    """How many neighbouring nibbles are one group of the first level."""
    return _FANS.get(nibbles, FAN_IN)


def nibble_planes(rows: torch.Tensor, nibbles: int) -> torch.Tensor:
    """Bit planes (4 * nibbles or more, W) -> (4, fan, groups, W): bit b of each nibble, in the
    order of the tree, which is the most significant group first and in it the most significant
    nibble.
    """
    fan = fan_of(nibbles)
    used = rows[: NIBBLE * nibbles].view(nibbles // fan, fan, NIBBLE, -1)
    return used.flip(0, 1).permute(2, 1, 0, 3).contiguous()


def tables(bits: torch.Tensor) -> torch.Tensor:
    """Dealer: nibble planes of r (4, fan, groups, W) -> LT for v = 0 to 14, (15, fan, ...).

    [v < n] by halves: the high two bits of v are less than those of n, or equal and the low less.
    """
    b0, b1, b2, b3 = bits
    zero = torch.zeros_like(b0)
    low = torch.stack([b0 | b1, b1, b0 & b1, zero])  # [v < b1 b0]
    high = torch.stack([b2 | b3, b3, b2 & b3, zero]).unsqueeze(1)
    same = torch.stack([~b3 & ~b2, ~b3 & b2, b3 & ~b2, b3 & b2]).unsqueeze(1)
    return (high ^ (same & low)).view(16, *b0.shape)[:TABLE]


def looked_up(
    halves: tuple[torch.Tensor, torch.Tensor],
    compared: int,
    nibbles: int,
    shares: tuple[torch.Tensor, torch.Tensor],
    *,
    one: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Party: of the public c = theirs + mine (n,), of which the low `compared` bits are compared,
    what the first level begins with. Local.

    `halves`: theirs, which becomes c, and mine. `shares`: its share of the tables (15 * nibbles, W)
    and of the first level's masks (mask_rows, W). Returns its share of lt[0] (groups, W) and of
    what `Level.hidden` gives (mask_rows, W); and bit `compared` of c, packed (W,).
    """
    theirs, mine = halves
    table, masks = shares
    level = levels(nibbles)[0]
    if not usable(theirs, mine):
        rows = planes(theirs.add_(mine))
        public = rows[compared].clone()
        clear_above(rows, compared, nibbles)
        bits = nibble_planes(rows, nibbles)
        lt, eq = look_up(table.view(TABLE, *bits.shape[1:]), bits, one=one)
        return lt[0], level.hidden(lt, eq, masks).view(masks.shape), public
    from parties.mpc.compiled import trees

    width = masks.size(1)
    first, public = masks.new_empty(level.groups, width), masks.new_empty(width)
    used = torch.empty_like(masks)
    trees.look_up(
        (words(theirs), words(mine), compared),
        (words(table), words(masks), np.uint64(one % (1 << WORD))),
        (words(first), words(used), words(public)),
    )
    return first, used, public


def clear_above(rows: torch.Tensor, compared: int, nibbles: int) -> None:
    """Blank, in place, the planes (64, W) that only fill up the top nibble (63 bits: plane 63)."""
    rows[compared : NIBBLE * nibbles] = 0


def look_up(
    table: torch.Tensor, bits: torch.Tensor, *, one: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Party: shares of lt and eq (fan, groups, W) at the public nibbles whose planes are `bits`
    (4, fan, groups, W). `table`: its share of (15, fan, groups, W). Local.

    Narrows the table, extended by LT[-1] = 1 and LT[15] = 0, to the two entries LT[c - 1], LT[c]:
    each bit of c, the highest first, says which half of the window they are in. Every element has a
    c of its own, so halves are chosen by masks and not by indices.
    """
    # Nine entries after the highest bit: LT[-1..7] or LT[7..15].
    top = bits[NIBBLE - 1]
    window = torch.empty_like(table[:9])
    window[0] = one
    window[1:] = table[:8]
    window[:8] ^= (window[:8] ^ table[7:]) & top
    window[8] &= ~top
    for place in reversed(range(NIBBLE - 1)):
        half = 1 << place
        lower, upper = window[: half + 1], window[half:]
        window = lower ^ upper
        window &= bits[place]
        window ^= lower
    # [c = n] = [c - 1 < n] ^ [c < n].
    return window[1], window[0] ^ window[1]
