"""Sign and ReLU of secret-shared values: one party's part, in lockstep with the other's.

    1.      open c = x + r                                                       8 bytes
    2., 3.  u = [c mod 2^bits < r mod 2^bits] by the tree of tree.py             3 to 4.5 bytes
    4.      open beta = u ^ t, t = rho ^ r[bits]                                 1 bit

The sign of x is c[bits] ^ r[bits] ^ u, so beta and the public c[bits] give sign ^ rho: with the
dealer's shares of rho, or of products with rho, the rest is local. Bytes are per element and party.
All that is opened is uniform: c under r, the tree under its masks, beta under rho.
"""

from typing import TypeVar

import torch

from privedge.mpc.fused import tree
from privedge.mpc.fused.packing import planes, spread
from privedge.mpc.fused.tuples import NIBBLES, Comparison, FusedRelu, SignTuple, clear_above
from privedge.mpc.session import Session
from privedge.mpc.tuples import logical_shift

KindT = TypeVar("KindT", bound=SignTuple)


def negative(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares of 1 where x < 0, else 0, from shares of x, int64 of any shape. Four rounds.

    Exact for -2^bits <= x < 2^bits; `bits` is 16 (three rounds), 32, 48 or 63 (any x).
    """
    kind = Comparison((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    opened = _opened(session, x, shares.free[0])
    flipped = _masked_sign(session, kind, opened, (shares.free[1], shares.derived[0]))
    rho = shares.derived[1][0]
    # sign = flipped ^ rho, and 1 - rho is what flips it.
    one = 1 if session.party == 0 else 0
    return _chosen(flipped, one - rho, rho).reshape(x.shape)


def rectified(session: Session, x: torch.Tensor, *, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of max(x, 0) and of x, both shifted right by `bits` (floor, or one unit more).

    x: int64 shares of any shape, -2^48 <= x < 2^48. Four rounds. Where x < 0 the first is 0.
    """
    kind = FusedRelu((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    first = session.party == 0
    # Moved up by 2^48 no x is negative, so that the quotient is right for each; bit 48 is then 1
    # where x was not negative.
    offset = 1 << kind.MAGNITUDE
    opened = _opened(session, x + offset if first else x, shares.free[0])
    flipped = _masked_sign(session, kind, opened, (shares.free[1], shares.derived[0]))
    rho, s0, s1, rho_s0, rho_s1 = shares.derived[1]
    public = logical_shift(opened, bits)
    public -= offset >> bits
    # x + 2^48 + r wrapped around if bit 63 of r was 1 and that of the sum is 0.
    high = opened >> 63
    quotient = _chosen(high, s0, s1)
    if first:
        quotient += public
    hidden = _chosen(high, rho_s0, rho_s1)
    hidden += public.mul_(rho)
    relu = _chosen(flipped, quotient - hidden, hidden)
    return relu.reshape(x.shape), quotient.reshape(x.shape)


def _opened(session: Session, x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    masked = x.reshape(-1) + r
    return session.exchange(masked).add_(masked)


def _masked_sign(
    session: Session,
    kind: SignTuple,
    opened: torch.Tensor,
    shares: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Bit `compared` of x, XOR rho, as (n,) words 0 or -1.

    `opened`: x + r. `shares`: the XOR-shared parts of the tuple, free and derived.
    """
    one = -1 if session.party == 0 else 0
    (t,), *masks = torch.split(shares[0], kind.mask_sizes)
    tables, *products = torch.split(shares[1], kind.product_sizes)
    rows = planes(opened)
    public = rows[kind.compared].clone()
    clear_above(rows, kind.compared)
    bits = tree.nibble_planes(rows, NIBBLES[kind.compared])
    lt, eq = tree.look_up(tables.view(tree.TABLE, *bits.shape[1:]), bits, one=one)

    def open_bits(mine: torch.Tensor) -> torch.Tensor:
        return session.exchange(mine).view(mine.shape) ^ mine

    for level, mask, product in zip(kind.levels, masks, products, strict=True):
        lt, eq = level.join(lt, eq, (mask, product), open_bits, one=one)
        lt, eq = lt.unsqueeze(1), eq.unsqueeze(1)
    beta = open_bits(lt.reshape(-1) ^ t) ^ public
    return spread(beta, kind.elements).neg_()


def _chosen(mask: torch.Tensor, yes: torch.Tensor, no: torch.Tensor) -> torch.Tensor:
    """`yes` where the mask is -1, `no` where it is 0 (torch.where takes far longer)."""
    chosen = yes ^ no
    chosen &= mask
    chosen ^= no
    return chosen
