"""Cut off the low bits of a secret, in one round (docs/protocol.md#truncation)."""

import torch

from parties.mpc.session import Session
from parties.mpc.tuples import Truncation, logical_shift

# Added to a number before its truncation, so that it is not negative.
_OFFSET = 1 << 62


def truncated(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares of floor(x / 2^bits), or of one unit more, from shares of x, int64 of any shape.

    Needs -2^62 <= x < 2^62. Open c = x + 2^62 + r, and subtract the high bits of r from those of c.
    """
    # c is uniform, because r is. x + 2^62 is neither negative nor 2^63 or more.
    drawn = session.tuples.draw(Truncation(tuple(x.shape), bits))
    (r,), (high, top) = drawn.free, drawn.derived
    masked = x + r
    if session.party == 0:
        masked += _OFFSET
    mine = masked.reshape(-1)
    opened = session.exchange(mine).add_(mine).view(masked.shape)
    # Local. c = x + 2^62 + r has wrapped around if c < r, and in that range
    # [c < r] = (1 - c[63]) * r[63]. The borrow of the low bits of c - r is not corrected: it is
    # the one unit of error.
    quotient = high + (1 - logical_shift(opened, 63)) * (top << (64 - bits))
    if session.party == 0:
        quotient += logical_shift(opened, bits) - (_OFFSET >> bits)
    return quotient
