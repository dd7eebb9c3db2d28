"""Sign, ReLU and exact truncation of secret-shared values: one party's part, in lockstep with the
other's (docs/protocol.md#comparison, #relu and #truncation).

    1.      open c = x + r                                                       8 bytes
    2., 3.  u = [c mod 2^bits < r mod 2^bits] by the tree of tree.py             0.75 to 4.25 bytes
    4.      open u ^ t                                                           1 bit

For a sign, t = rho ^ r[bits]. The sign of x is c[bits] ^ r[bits] ^ u, so the opened bit and the
public c[bits] give sign ^ rho. With the dealer's shares of rho, or of products with rho, the rest
is local. Bytes are for one element, at each party. All that is opened is uniform: c under r, the
tree under its masks, u under t.

floor(x / 2^f) is (c >> f) - (r >> f), less what the low bits borrow, b = [c mod 2^f < r mod 2^f],
plus 2^(64 - f) where c - r wrapped around. Without b the quotient is one unit more wherever the
low bits borrow. Exact rounding has b from the tree.

Why no case is left in which it fails: docs/protocol.md has the proofs.
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
    """Shares of 1 where x < 0, else 0, from shares of x: int64 of any shape, and of x's shape.

    Exact for -2^bits <= x < 2^bits; `bits` is 16 (three rounds), 32, 48 or 63 (any x). Four rounds.
    """
    kind = Comparison((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    # 1. Open c = x + r. Uniform, because r is and is used here only.
    opened = _opened(session, x, shares.free[0], 0)
    # 2. to 4. Open u ^ t by the tree; with the public c[bits] it gives flipped = sign ^ rho. It
    #    hides the sign: rho is uniform, and is opened nowhere.
    flipped, _ = _masked_sign(session, kind, opened, (shares.free[1], shares.derived[0]))
    # Local: sign = flipped ^ rho, additively, from the dealer's shares of rho.
    return _unmasked(session, flipped, shares.derived[1][0]).reshape(x.shape)


def rectified(
    session: Session, x: torch.Tensor, *, bits: int, exact: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of max(x, 0) and of x, both shifted right by `bits`: the floor if `exact`, which needs
    16 bits, else the floor or one unit more.

    x: int64 shares of any shape, -2^48 <= x < 2^48; both results have x's shape. Four rounds, and
    the same bytes either way. Where x < 0 the first result is 0.
    """
    kind = FusedRelu((x.numel(),), bits, exact)
    shares = session.tuples.draw(kind)
    # 1. Open c = x + 2^48 + r, uniform under r. Moved up by 2^48 no x is negative, and bit 48 is 1
    #    where x was not negative.
    opened = _opened(session, x, shares.free[0], kind.OFFSET)
    # 2. to 4. The tree gives flipped = c[48] ^ u ^ t = [x >= 0] ^ rho, which rho hides.
    flipped, low = _masked_sign(session, kind, opened, (shares.free[1], shares.derived[0]))
    rho, s, w, rho_s, rho_w, *of_low = shares.derived[1]
    # Local: shares of q = x >> bits, or one unit more; and from the dealer's products with rho, of
    # rho * q = rho * s + [c < 0] * rho * w + rho * (c >> bits).
    quotient, public = _quotient(session, opened, bits, (s, w))
    hidden = (opened >> 63).bitwise_and_(rho_w)
    hidden += rho_s
    hidden.addcmul_(public, rho)
    if exact:
        # Exact: the tree's last level opened b ^ sigma, where b is what the low bits borrow. sigma
        # hides it, and its additive shares give shares of b and of rho * b.
        sigma, rho_sigma = of_low
        borrow = spread(low, x.numel())
        quotient -= _unmasked(session, borrow, sigma)
        hidden -= _chosen(borrow, rho - rho_sigma, rho_sigma)
    # Local: [x >= 0] is 1 - rho where flipped, rho elsewhere; so is the factor of the quotient.
    relu = torch.sub(quotient, hidden, alpha=2).bitwise_and_(flipped)
    relu += hidden
    return relu.reshape(x.shape), quotient.reshape(x.shape)


def truncated(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares of floor(x / 2^bits), exactly, for `bits` = 16 and -2^62 <= x < 2^62.

    x: int64 shares of any shape; so is the result. Three rounds.
    """
    kind = ExactTruncation((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    # 1. Open c = x + 2^62 + r, uniform under r.
    opened = _opened(session, x, shares.free[0], kind.OFFSET)
    # 2. The tree compares the low bits of c and r, in one level.
    # 3. What they borrow, b, is opened under t = sigma, a uniform bit.
    borrows, _ = _compared(session, kind, planes(opened), (shares.free[1], shares.derived[0]))
    # Local: the quotient without the borrow, less b from the dealer's additive shares of sigma.
    sigma, *of_quotient = shares.derived[1]
    quotient, _ = _quotient(session, opened, bits, of_quotient)
    quotient -= _unmasked(session, spread(borrows, x.numel()), sigma)
    return quotient.reshape(x.shape)


def _opened(session: Session, x: torch.Tensor, r: torch.Tensor, offset: int) -> torch.Tensor:
    """c = x + offset + r, (n,), opened. One round, 8 bytes for each element."""
    masked = x.reshape(-1) + r
    if offset and session.party == 0:
        masked += offset
    return session.exchange(masked).add_(masked)


def _quotient(
    session: Session, opened: torch.Tensor, bits: int, shares: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares (n,) of x shifted right, or of one unit more, from the opened c and shares of s and w;
    and its public part, c >> bits. Local.

    c - r has wrapped around only where c is negative and r is not (tuples.quotients), so w counts
    where c < 0: the shift by 63 makes a mask of that sign.
    """
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
    last mask, packed. Both are public.

    `opened`: c = x + r, (n,). `shares`: the XOR-shared parts of the tuple, free and derived.
    """
    # That bit of x = c - r is c[compared] ^ r[compared] ^ u, u being what is borrowed from it.
    rows = planes(opened)
    public = rows[kind.compared].clone()
    # 63 bits: the comparison must not see bit 63, which is the sign itself.
    clear_above(rows, kind.compared)
    less, low = _compared(session, kind, rows, shares)
    return spread(less ^ public, kind.elements), low


def _compared(
    session: Session,
    kind: TreeTuple,
    rows: torch.Tensor,
    shares: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """[c < r] of the compared low bits, XOR t; and the last input of the last level, XOR its mask.
    Both are public and packed, (W,).

    `rows`: the bit planes of c, (64, W). `shares`: free and derived, XOR-shared.
    """
    one = -1 if session.party == 0 else 0
    (t,), *masks = torch.split(shares[0], kind.mask_sizes)
    tables, *products = torch.split(shares[1], kind.product_sizes)
    # Local: c is public, so at each of its nibbles the dealer's table of r's nibble has a share of
    # less-than, and of equal-to.
    bits = tree.nibble_planes(rows, NIBBLES[kind.compared])
    lt, eq = tree.look_up(tables.view(tree.TABLE, *bits.shape[1:]), bits, one=one)
    seen = rows
    for level, mask, product in zip(kind.levels, masks, products, strict=True):
        # One round a level: its inputs are opened, each bit under a mask bit of its own. The shares
        # of the products of these masks are then enough to join the inputs locally.
        seen = _opened_bits(session, level.hidden(lt, eq, mask))
        lt, eq = level.join(lt[0], seen, (mask, product), one=one)
        lt, eq = lt.unsqueeze(1), eq.unsqueeze(1)
    # The last round: u under t. For a sign t is rho ^ r[compared], so r's bit goes with it.
    return _opened_bits(session, lt.reshape(-1) ^ t), seen[-1].reshape(-1)


def _opened_bits(session: Session, mine: torch.Tensor) -> torch.Tensor:
    """Packed XOR shares of any shape, opened. One round, a bit for each bit."""
    return session.exchange(mine).view(mine.shape) ^ mine


def _unmasked(session: Session, masked: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Additive shares (n,) of a bit, from what bit ^ mask opened to, as words 0 or -1, and from
    additive shares of the mask. Local.
    """
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
