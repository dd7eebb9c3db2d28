"""Sign, ReLU and exact truncation of secret-shared values: one party's part, in lockstep with the
other's (docs/protocol.md#comparison, #relu and #truncation).

    1.      open c = x + r; a comparison, only bits 0 to `bits` of it            3 to 8 bytes
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

from parties.mpc import widening
from parties.mpc.compiled.ready import usable, words
from parties.mpc.fused import tree
from parties.mpc.fused.packing import spread
from parties.mpc.fused.tuples import NIBBLES, Comparison, ExactTruncation, FusedRelu, TreeTuple
from parties.mpc.session import Session
from privedge.sharing.ring import RING_BITS, WORD_BYTES, width

# The other party's half of an opened value, and this party's own.
Halves = tuple[torch.Tensor, torch.Tensor]


def negative(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares of 1 where x < 0, else 0, from shares of x: int64 of any shape, and of x's shape.

    Exact for -2^bits <= x < 2^bits; `bits` is a key of NIBBLES; 63 is for any x. Four rounds, three
    for 16 bits.
    """
    kind = Comparison((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    # 1. Open c = x + r modulo 2^(bits + 1): what is above decides nothing, and low bits of shares
    #    are shares of the low bits. Uniform, because r is and is used here only.
    halves = _opened(session, x, shares.free[0], 0, bits=bits + 1)
    # 2. to 4. Open u ^ t by the tree; with the public c[bits] it gives flipped = sign ^ rho. It
    #    hides the sign: rho is uniform, and is opened nowhere.
    less, public, _ = compared(session, kind, halves, (shares.free[1], shares.derived[0]))
    # Local: sign = flipped ^ rho, additively, from the dealer's shares of rho.
    return unmasked(session, less ^ public, shares.derived[1][0]).view(x.shape)


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
    halves = _opened(session, x, shares.free[0], kind.OFFSET)
    # 2. to 4. The tree gives flipped = c[48] ^ u ^ t = [x >= 0] ^ rho, which rho hides. If exact,
    #    its last level opened b ^ sigma, where b is what the low bits borrow, and sigma hides it.
    less, public, low = compared(session, kind, halves, (shares.free[1], shares.derived[0]))
    # Local: both results, from the dealer's numbers.
    relu, quotient = _selected(session, halves[0], (less ^ public, low), shares.derived[1], bits)
    return relu.view(x.shape), quotient.view(x.shape)


def truncated(session: Session, x: torch.Tensor, *, bits: int) -> torch.Tensor:
    """Shares of floor(x / 2^bits), exactly, for `bits` = 16 and -2^62 <= x < 2^62.

    x: int64 shares of any shape; so is the result. Three rounds.
    """
    kind = ExactTruncation((x.numel(),), bits)
    shares = session.tuples.draw(kind)
    # 1. Open c = x + 2^62 + r, uniform under r.
    halves = _opened(session, x, shares.free[0], kind.OFFSET)
    # 2. The tree compares the low bits of c and r, in one level.
    # 3. What they borrow, b, is opened under t = sigma, a uniform bit.
    borrows, _, _ = compared(session, kind, halves, (shares.free[1], shares.derived[0]))
    # Local: the quotient without the borrow, less b from the dealer's additive shares of sigma.
    sigma, *of_quotient = shares.derived[1]
    quotient, _ = _quotient(session, halves[0], bits, of_quotient)
    quotient -= unmasked(session, borrows, sigma)
    return quotient.view(x.shape)


def _opened(
    session: Session, x: torch.Tensor, r: torch.Tensor, offset: int, *, bits: int = RING_BITS
) -> Halves:
    """Both halves (n,) of c = x + offset + r, of which the low `bits` are opened. One round, whole
    bytes for each element. What their sum has above these bits means nothing.
    """
    mine = x.reshape(-1) + r
    if offset and session.party == 0:
        mine += offset
    if width(bits) == WORD_BYTES:
        return session.exchange(mine), mine
    hidden = widening.packed(mine, bits)
    theirs = session.exchange(hidden)
    return widening.unpacked(theirs, bits, x.numel()), widening.unpacked(hidden, bits, x.numel())


def compared(
    session: Session, kind: TreeTuple, halves: Halves, shares: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """[c < r] of the compared low bits, XOR t; bit `compared` of c; and the last input of the last
    level, XOR its mask. All are public and packed, (W,).

    `halves`: those of c; the first becomes c. `shares`: free and derived, XOR-shared.

    Bit `compared` of x = c - r is c[compared] ^ r[compared] ^ u, u being what is borrowed from it.
    """
    one = -1 if session.party == 0 else 0
    t, *masks = shares[0].split_with_sizes(kind.mask_sizes)
    tables, *products = shares[1].split_with_sizes(kind.product_sizes)
    # Local: c is public, so at each of its nibbles the dealer's table of r's nibble has a share of
    # less-than, and of equal-to.
    first, mine, public = tree.looked_up(
        halves, kind.compared, NIBBLES[kind.compared], (tables, masks[0]), one=one
    )
    seen = mine
    for level, mask, product, after in zip(
        kind.levels, masks, products, [*masks[1:], t], strict=True
    ):
        # One round a level: its inputs are opened, each bit under a mask bit of its own. The shares
        # of the products of these masks are then enough to join the inputs locally.
        seen = session.exchange(mine).view(mine.shape)
        first, mine = level.joined(first, (seen, mine), (mask, product), after, one=one)
    # The last round: u under t. For a sign t is rho ^ r[compared], so r's bit goes with it.
    return session.exchange(mine) ^ mine[0], public, seen[-1]


def _selected(
    session: Session,
    opened: torch.Tensor,
    packed: tuple[torch.Tensor, torch.Tensor],
    numbers: torch.Tensor,
    bits: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shares of max(x, 0) and of x, both shifted right, (n,), from the opened c (n,), from the
    packed `flipped` and `low` of `rectified`, and from shares of the kind's numbers. Local.
    """
    flipped, low = packed
    if usable(opened, flipped):
        return _selected_at_once(session, opened, packed, numbers, bits)
    rho, s, w, rho_s, rho_w, *of_low = numbers
    # q = x >> bits, or one unit more; and from the dealer's products with rho,
    # rho * q = rho * s + [c < 0] * rho * w + rho * (c >> bits).
    quotient, public = _quotient(session, opened, bits, (s, w))
    hidden = (opened >> 63).bitwise_and_(rho_w)
    hidden += rho_s
    hidden.addcmul_(public, rho)
    if of_low:
        # Exact: the additive shares of sigma give shares of b and of rho * b.
        sigma, rho_sigma = of_low
        quotient -= unmasked(session, low, sigma)
        hidden -= _chosen(spread(low, opened.numel()), rho - rho_sigma, rho_sigma)
    # [x >= 0] is 1 - rho where flipped, rho elsewhere; so is the factor of the quotient.
    relu = torch.sub(quotient, hidden, alpha=2).bitwise_and_(spread(flipped, opened.numel()))
    relu += hidden
    return relu, quotient


def _selected_at_once(
    session: Session,
    opened: torch.Tensor,
    packed: tuple[torch.Tensor, torch.Tensor],
    numbers: torch.Tensor,
    bits: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    from parties.mpc.compiled import elements

    relu, quotient = torch.empty_like(opened), torch.empty_like(opened)
    flipped, low = packed
    elements.rectify(
        words(opened),
        (words(flipped), words(low)),
        *(words(numbers), bits, 1 - session.party),
        (words(relu), words(quotient)),
    )
    return relu, quotient


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


def unmasked(session: Session, packed: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Additive shares (n,) of a bit, from what bit ^ mask opened to, packed (W,), and from additive
    shares of the mask (n,). Local.
    """
    one = 1 - session.party
    if not usable(packed, mask):
        # mask where it opened to 0, else one - mask.
        bit = torch.rsub(mask, one, alpha=2).bitwise_and_(spread(packed, mask.numel()))
        bit += mask
        return bit
    from parties.mpc.compiled import elements

    bit = torch.empty_like(mask)
    elements.unmasked(words(packed), words(mask), one, words(bit))
    return bit


def _chosen(mask: torch.Tensor, yes: torch.Tensor, no: torch.Tensor) -> torch.Tensor:
    """`yes` where the mask is -1, `no` where it is 0 (torch.where takes far longer)."""
    chosen = yes ^ no
    chosen &= mask
    chosen ^= no
    return chosen
