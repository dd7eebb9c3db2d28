"""The lesser of two secret numbers, with what belongs to it, and the greater one. Four rounds.

A comparison opens c = x + r for x = b - a, and the bit that it opens last, flipped = [x < 0] ^ rho,
together with c is enough for the choice as well (docs/protocol.md#pairs). The dealer shares rho and
rho r, so

    rho x   = rho c - rho r                                  local, c being public
    [x < 0] x = x - rho x  where flipped is 1, else rho x
    lesser  = a + [x < 0] x          greater = a + b - lesser

Numbers that belong to a and b are chosen by the same bit: y = b's - a's is opened as y + w beside
c, under a mask w of its own, and the dealer shares rho w.
"""

from dataclasses import dataclass

import torch

from parties.mpc.fused import compare
from parties.mpc.fused.packing import spread
from parties.mpc.fused.tuples import NIBBLES, TreeTuple
from parties.mpc.session import Session
from parties.mpc.tuples import Shape
from privedge.errors import ShareError

# Two numbers, those of a margin rule and its threshold, an index, and a runner-up for each level
# before are far fewer.
MAX_CARRIED = 32


@dataclass(frozen=True)
class Pair(TreeTuple):
    """r and the masks w of `carried` numbers, (1 + carried, n). Opened is all of x + r.

    Numbers: rho, and rho times r and each w. Right for -2^bits <= x < 2^bits.
    """

    shape: Shape
    bits: int
    carried: int

    def __post_init__(self) -> None:
        if self.bits not in NIBBLES:
            raise ShareError(f"pair tuple: bits must be one of {sorted(NIBBLES)}")
        if not 0 <= self.carried <= MAX_CARRIED:
            raise ShareError(f"pair tuple: between 0 and {MAX_CARRIED} carried numbers")

    @property
    def purpose(self) -> str:
        return f"pair {self.shape} {self.bits} {self.carried}"

    @property
    def compared(self) -> int:
        return self.bits

    @property
    def numbers(self) -> int:
        return 2 + self.carried

    @property
    def free(self) -> list[Shape]:
        return [(1 + self.carried, self.elements), super().free[1]]

    def masks_compared(self, r: torch.Tensor) -> torch.Tensor:
        return r[0]

    def arithmetic(self, r: torch.Tensor, bit: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        # As words 0 or -1, rho chooses: AND with it is a product.
        numbers = r.new_empty(self.numbers, self.elements)
        rho = spread(drawn[0] ^ bit, self.elements)
        torch.neg(rho, out=numbers[0])
        torch.bitwise_and(r, rho, out=numbers[1:])
        return numbers


def lesser(
    session: Session, first: torch.Tensor, second: torch.Tensor, *, bits: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of shares of n pairs of rows (n, 1 + carried), int64, shares of the row with the lesser first
    number, of the greater first number (n,), and of 1 where `second` is that row, else 0, (n,).

    Of two equal numbers the first row is taken. Exact where second - first is in -2^bits to 2^bits;
    elsewhere the bit is some bit, and the rest is as it says. Four rounds, three for 16 bits.
    """
    count, width = first.shape
    kind = Pair((count,), bits, width - 1)
    shares = session.tuples.draw(kind)
    # 1. Open c = x + r, and y + w for each number carried along. All are uniform: r and the w are,
    #    and are used here only.
    differences = (second - first).T.contiguous()
    mine = differences + shares.free[0]
    theirs = session.exchange(mine).view(mine.shape)
    # 2. to 4. The tree gives flipped = [x < 0] ^ rho, which rho hides. It leaves c in theirs[0].
    theirs[1:] += mine[1:]
    less, public, _ = compare.compared(
        session, kind, (theirs[0], mine[0]), (shares.free[1], shares.derived[0])
    )
    flipped = less ^ public
    # Local: rho times each difference, from the dealer's products; then [x < 0] times it.
    rho, products = shares.derived[1][0], shares.derived[1][1:]
    of_rho = rho * theirs - products
    chosen = torch.sub(differences, of_rho, alpha=2).bitwise_and_(spread(flipped, count))
    chosen += of_rho
    row = first + chosen.T
    greater = first[:, 0] + second[:, 0] - row[:, 0]
    return row, greater, compare.unmasked(session, flipped, rho)
