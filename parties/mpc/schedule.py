"""How the contestants of a cohort are narrowed down: a public function of how many there are.

Levels of pairs take one comparison for each owner in all, and 4 rounds each; levels of groups of 16
take 7.5 comparisons for each contestant, and 5 rounds each. So rounds are traded for comparisons:
the larger the cohort, the more levels of pairs come first (docs/protocol.md#decision).
"""

from dataclasses import dataclass
from functools import lru_cache

from privedge.sharing.ring import WORD_BYTES

GROUP = 16

# The last choice, of the place within a block, has a table of 2^7 entries (fused/choice.py).
MOST_PAIRS = 7

# Below so many owners rounds matter more than bytes, on every link.
FEW = 2000

# What a round, a comparison and a byte of a choice's table are taken to cost, in microseconds, with
# the randomness of all three at all servers: two machines of one network, 1 Gbit/s. They decide
# about time and bytes only, never about an answer; both parties must have the same.
_ROUND_US, _COMPARISON_US, _BYTE_US = 1500.0, 1.0, 0.01

_SHAPES = 1 << 8


@dataclass(frozen=True)
class Schedule:
    """How N owners become 16 contestants or fewer.

    pairs: how many levels of pairs come before the levels of groups.
    """

    owners: int
    pairs: int

    @property
    def blocks(self) -> int:
        """How many contestants the pairs leave, each the best of 2^pairs owners."""
        return -(-self.owners // (1 << self.pairs))

    @property
    def rounds(self) -> int:
        """Rounds of all levels, the last comparison of all that are left, and the index."""
        return 4 * self.pairs + 5 * len(self._groups) + 5 + (self.pairs > 0)

    @property
    def comparisons(self) -> int:
        """How many comparisons the levels take."""
        in_groups = sum(groups * size * (size - 1) // 2 for groups, size in self._groups)
        return (self.blocks << self.pairs) - self.blocks + in_groups

    @property
    def cost_us(self) -> float:
        """By the model above."""
        # A table has an entry of each place for the rank, the distance, the threshold, the place
        # and the runners-up.
        entries = sum(groups * size * size for groups, size in self._groups) * (4 + self.pairs)
        return (
            _ROUND_US * self.rounds
            + _COMPARISON_US * self.comparisons
            + _BYTE_US * WORD_BYTES * entries
        )

    @property
    def _groups(self) -> list[tuple[int, int]]:
        left, found = self.blocks, []
        while left > GROUP:
            found.append(groups_of(left))
            left = found[-1][0]
        return found


def groups_of(count: int) -> tuple[int, int]:
    """How many groups `count` contestants make, and their size: as equal as can be."""
    groups = -(-count // GROUP)
    return groups, -(-count // groups)


@dataclass(frozen=True)
class Levels:
    """What the levels of a decision go by.

    between: distances are at least the first and below the second, whole numbers at scale 2f, where
        a spec says so. The levels compare no more bits than it needs. A distance outside may beat
        others there that are nearer, but it never wins: at the end all 64 bits of it are compared.
    plan: how owners are narrowed down, instead of what `schedule` says.
    """

    between: tuple[int, int] | None = None
    plan: Schedule | None = None


@lru_cache(_SHAPES)
def schedule(owners: int) -> Schedule:
    """The schedule of a cohort of so many owners: the one that costs least by the model above."""
    if owners < FEW:
        return Schedule(owners, 0)
    possible = [Schedule(owners, pairs) for pairs in range(MOST_PAIRS + 1)]
    enough = (each for each in possible if each.blocks > GROUP)
    return min(enough, key=lambda each: each.cost_us)
