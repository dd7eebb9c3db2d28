"""Sign, ReLU and exact truncation of secret-shared values: one party's part, in lockstep with the
other's.

    1.      open c = x + r                                                       8 bytes
    2., 3.  u = [c mod 2^bits < r mod 2^bits] by the tree of tree.py             0.75 to 4.25 bytes
    4.      open u ^ t                                                           1 bit

For a sign t = rho ^ r[bits]: the sign of x is c[bits] ^ r[bits] ^ u, so what is opened and the
public c[bits] give sign ^ rho; with the dealer's shares of rho, or of products with rho, the rest
is local. Bytes are per element and party. All that is opened is uniform: c under r, the tree under
its masks, u under t.

floor(x / 2^f) is (c >> f) - (r >> f), less what the low bits borrow, b = [c mod 2^f < r mod 2^f],
plus 2^(64 - f) where c - r wrapped around. Without b the quotient is one unit more wherever the
low bits borrow; exact rounding takes b from the tree.
"""

from collections.abc import Sequence

import torch

from privedge.mpc.fused import tree
from privedge.mpc.fused.packing import planes, spread
from privedge.mpc.fused.tuples import (
    NIBBLES,
    Comparison,
    ExactTruncation,
    FusedRelu,
    TreeTuple,
    clear_above,
)
from privedge.mpc.session import Session


def negative(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares of 1 where x < 0, else 0, from shares of x, int64 of any shape. Four rounds.

    Exact for -2^bits <= x < 2^bits; `bits` is 16 (three rounds), 32, 48 or 63 (any x).
    """
    kind = Comparison((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    opened = _opened(session, x, shares.free[0], 0)
    flipped, _ = _masked_sign(session, kind, opened, (shares.free[1], shares.derived[0]))
    # sign = flipped ^ rho.
    return _unmasked(session, flipped, shares.derived[1][0]).reshape(x.shape)


def rectified(
    session: Session, x: torch.Tensor, *, bits: int, exact: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of max(x, 0) and of x, both shifted right by `bits`: if `exact`, which takes 16 bits,
    the floor, else the floor or one unit more.

    x: int64 shares of any shape, -2^48 <= x < 2^48. Four rounds, and the same bytes either way.
    Where x < 0 the first is 0.
    """
    kind = FusedRelu((x.numel(),), bits, exact)
    shares = session.tuples.draw(kind)
    # Moved up no x is negative; bit 48 is then 1 where x was not negative.
    opened = _opened(session, x, shares.free[0], kind.OFFSET)
    flipped, low = _masked_sign(session, kind, opened, (shares.free[1], shares.derived[0]))
    rho, s, w, rho_s, rho_w, *of_low = shares.derived[1]
    quotient, public = _quotient(session, opened, bits, (s, w))
    hidden = (opened >> 63).bitwise_and_(rho_w)
    hidden += rho_s
    hidden.addcmul_(public, rho)
    if exact:
        sigma, rho_sigma = of_low
        borrow = spread(low, x.numel())
        quotient -= _unmasked(session, borrow, sigma)
        hidden -= _chosen(borrow, rho - rho_sigma, rho_sigma)
    # The quotient times 1 - rho where flipped, times rho elsewhere.
    relu = torch.sub(quotient, hidden, alpha=2).bitwise_and_(flipped)
    relu += hidden
    return relu.reshape(x.shape), quotient.reshape(x.shape)


def truncated(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares of floor(x / 2^bits), exactly, for `bits` = 16 and -2^62 <= x < 2^62.

    x: int64 shares of any shape. Three rounds.
    """
    kind = ExactTruncation((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    opened = _opened(session, x, shares.free[0], kind.OFFSET)
    borrows, _ = _compared(session, kind, planes(opened), (shares.free[1], shares.derived[0]))
    sigma, *of_quotient = shares.derived[1]
    quotient, _ = _quotient(session, opened, bits, of_quotient)
    quotient -= _unmasked(session, spread(borrows, x.numel()), sigma)
    return quotient.reshape(x.shape)


def _opened(session: Session, x: torch.Tensor, r: torch.Tensor, offset: int) -> torch.Tensor:
    masked = x.reshape(-1) + r
    if offset and session.party == 0:
        masked += offset
    return session.exchange(masked).add_(masked)


def _quotient(
    session: Session, opened: torch.Tensor, bits: int, shares: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of x shifted right, or of one unit more, from s and w; and what is public of it."""
    s, w = shares
    public = opened >> bits
    quotient = (opened >> 63).bitwise_and_(w)
    quotient += s
    if session.party == 0:
        quotient += public
    return quotient, public


def _masked_sign(
    session: Session,
    kind: TreeTuple,
    opened: torch.Tensor,
    shares: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bit `compared` of x, XOR rho, as (n,) words 0 or -1; and [c < r] of the lowest group, XOR the
    last mask, packed.

    `opened`: x + r. `shares`: the XOR-shared parts of the tuple, free and derived.
    """
    rows = planes(opened)
    public = rows[kind.compared].clone()
    clear_above(rows, kind.compared)
    less, low = _compared(session, kind, rows, shares)
    return spread(less ^ public, kind.elements), low


def _compared(
    session: Session,
    kind: TreeTuple,
    rows: torch.Tensor,
    shares: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of all that is compared [c < r] XOR t, and the last input of the last level XOR its mask,
    both as opened and packed. `rows`: the bit planes of c.
    """
    one = -1 if session.party == 0 else 0
    (t,), *masks = torch.split(shares[0], kind.mask_sizes)
    tables, *products = torch.split(shares[1], kind.product_sizes)
    bits = tree.nibble_planes(rows, NIBBLES[kind.compared])
    lt, eq = tree.look_up(tables.view(tree.TABLE, *bits.shape[1:]), bits, one=one)
    seen = rows
    for level, mask, product in zip(kind.levels, masks, products, strict=True):
        seen = _opened_bits(session, level.hidden(lt, eq, mask))
        lt, eq = level.join(lt[0], seen, (mask, product), one=one)
        lt, eq = lt.unsqueeze(1), eq.unsqueeze(1)
    return _opened_bits(session, lt.reshape(-1) ^ t), seen[-1].reshape(-1)


def _opened_bits(session: Session, mine: torch.Tensor) -> torch.Tensor:
    return session.exchange(mine).view(mine.shape) ^ mine


def _unmasked(session: Session, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Shares of a bit from what it opened to under a mask, as words 0 or -1, and shares of that."""
    one = 1 if session.party == 0 else 0
    # mask where it opened to 0, else one - mask.
    bit = torch.rsub(mask, one, alpha=2).bitwise_and_(masked)
    bit += mask
    return bit


def _chosen(mask: torch.Tensor, yes: torch.Tensor, no: torch.Tensor) -> torch.Tensor:
    """`yes` where the mask is -1, `no` where it is 0 (torch.where takes far longer)."""
    chosen = yes ^ no
    chosen &= mask
    chosen ^= no
    return chosen
