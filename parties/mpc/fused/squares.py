"""The square of a truncated value, in the one round of the truncation (docs/protocol.md#squares).

Opening c = x + 2^62 + r gives the quotient q = p + s. Here p = c >> bits is public; s is a function
of r, s0 where c >= 0 and s1 where c < 0. So q^2 = p^2 + 2 p s + s^2, and the dealer shares the
squares of s0 and s1 too.
"""

import math
from dataclasses import dataclass

import torch

from parties.mpc.compiled.ready import usable, words
from parties.mpc.fused.tuples import quotients
from parties.mpc.session import Session
from parties.mpc.tuples import InPlace, Shape, Sharing, leave
from privedge.errors import ShareError

OFFSET = 1 << 62
_MAX_BITS = 61


@dataclass(frozen=True)
class TruncatedSquare(InPlace):
    """r (n) uniform; s0, s1 and their squares, (4, n); all additive."""

    shape: Shape
    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= _MAX_BITS:
            raise ShareError(f"truncated square tuple: between 1 and {_MAX_BITS} bits")

    @property
    def purpose(self) -> str:
        return f"truncated square {self.shape} {self.bits}"

    @property
    def free(self) -> list[Shape]:
        return [(math.prod(self.shape),)]

    @property
    def derived(self) -> list[Shape]:
        return [(4, math.prod(self.shape))]

    @property
    def free_sharing(self) -> list[Sharing]:
        return ["additive"]

    @property
    def derived_sharing(self) -> list[Sharing]:
        return ["additive"]

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        r = masks[0]
        numbers = r.new_empty(4, r.numel())
        # s0 = s, and s1 = s + w: what is added where c - r has wrapped around.
        quotients(r, self.bits, OFFSET, numbers[:2])
        numbers[1] += numbers[0]
        torch.mul(numbers[:2], numbers[:2], out=numbers[2:])
        return [numbers]

    def correct(self, masks: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
        if not usable(*masks, *theirs):
            leave("additive", self.derive(masks)[0], theirs[0])
            return
        from parties.mpc.compiled import elements

        elements.square_numbers(words(masks[0]), self.bits, OFFSET >> self.bits, words(theirs[0]))


def truncated_square(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares of q^2 from shares of x, int64 of any shape; q is floor(x / 2^bits) or one unit more.

    Needs -2^62 <= x < 2^62. One round. For a multiple of 2^bits q is exactly the quotient.
    """
    kind = TruncatedSquare((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    # 1. Open c = x + 2^62 + r, uniform under r. Moved up, x is not negative.
    masked = x.reshape(-1) + shares.free[0]
    if session.party == 0:
        masked += OFFSET
    theirs = session.exchange(masked)
    # 2. and 3. are local.
    return _squared(session, (theirs, masked), shares.derived[0], bits).reshape(x.shape)


def _squared(
    session: Session, halves: tuple[torch.Tensor, torch.Tensor], numbers: torch.Tensor, bits: int
) -> torch.Tensor:
    """Shares of q^2 (n,) from both halves of c (n,) and shares of the kind's numbers (4, n)."""
    theirs, mine = halves
    if usable(theirs, mine):
        from parties.mpc.compiled import elements

        square = torch.empty_like(mine)
        halves_of_c = words(theirs), words(mine)
        elements.square(halves_of_c, words(numbers), bits, 1 - session.party, words(square))
        return square
    opened = theirs.add_(mine)
    # 2. Local: p = c >> bits is public. The sign of c, public too, says which shares are those of
    #    s and s^2: s0 ^ s1 where c < 0, nothing elsewhere, and then ^ s0.
    public = opened >> bits
    s0, s1 = numbers.view(2, 2, -1).unbind(1)
    s, square = (((s0 ^ s1) & (opened >> 63)) ^ s0).unbind()
    # 3. Local: q^2 = 2 p s + s^2 + p^2; party 0 adds what is public.
    s *= public
    s *= 2
    square += s
    if session.party == 0:
        square += public.mul_(public)
    return square
