"""How two parties make each kind of tuple: written once, for the roles of role.py.

A kind's tuple is what its `derive` says (fused/tuples.py and others). Its mask r is made of random
bits, which both parties share by XOR; all that depends on bits of r comes from those.

Each function here makes some elements, with one `yield`: before it come messages 2 and 3, after it
what is left. It returns the free and the derived parts, with the elements last: (..., n), or (rows,
W) where they are packed. n is 64 * W.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TypeAlias

import numpy as np

from parties.mpc.fused import tree
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.pairs import Pair
from parties.mpc.fused.squares import OFFSET, TruncatedSquare
from parties.mpc.fused.tuples import NIBBLES, Comparison, ExactTruncation, FusedRelu, TreeTuple
from parties.mpc.tuples import Product, Square, Truncation, TupleKind
from parties.mpc.twoparty.counting import Counter
from parties.mpc.twoparty.lookup import Lookup, lookup, polynomial, several
from parties.mpc.twoparty.role import Bit, Role, own_number
from parties.mpc.widening import Widen
from privedge.errors import ShareError
from privedge.sharing.ring import RING_BITS, Words

Parts = tuple[list[Words], list[Words]]
Making = Generator[None, None, Parts]
Recipe = Callable[[Role], Making]
# What the online phase consumes beside products with fixed weights.
Kind: TypeAlias = (
    FusedRelu
    | Comparison
    | Pair
    | ExactTruncation
    | Truncation
    | TruncatedSquare
    | Choice
    | Square
    | Widen
    | Product
)
# Bits, and which of their products are wanted.
_Wanted = tuple[Sequence[Bit], Lookup]

_ONE = np.uint64(1)
_ONES = np.uint64((1 << RING_BITS) - 1)
_TOP = RING_BITS - 1
# Products that one look-up gives at most: they are bits of a word.
_AT_ONCE = RING_BITS


def recipe(kind: Kind) -> Recipe:
    """How elements of this kind are made; its shape does not matter."""
    if isinstance(kind, FusedRelu | Comparison | Pair | ExactTruncation):
        return _tree(kind)
    match kind:
        case Truncation():
            return partial(_truncation, kind.bits)
        case TruncatedSquare():
            return partial(_truncated_square, kind.bits)
        case Choice():
            return partial(_choice, kind.values, kind.bits)
        case Square():
            return _square
        case Widen():
            return partial(_widen, kind.bits)
        case Product():
            return _product


def _tree(kind: FusedRelu | Comparison | Pair | ExactTruncation) -> Recipe:
    match kind:
        case FusedRelu():
            return partial(_relu, kind)
        case Comparison():
            return partial(_comparison, kind)
        case Pair():
            return partial(_pair, kind)
        case ExactTruncation():
            return partial(_exact_truncation, kind)


def elements_of(kind: TupleKind) -> int:
    """How many elements a tuple of such a kind has."""
    if isinstance(kind, Choice):
        return kind.indices
    if isinstance(kind, TreeTuple):
        return kind.elements
    return int(np.prod(kind.derived[0] if isinstance(kind, Product) else kind.free[0]))


def of_one(kind: TupleKind) -> Kind:
    """The same kind for one element. Kinds for which it is the same can be made together.

    Raises ShareError for a kind that the two parties cannot make.
    """
    if isinstance(kind, Choice):
        return replace(kind, indices=1)
    if isinstance(kind, FusedRelu | Comparison | Pair | ExactTruncation | TruncatedSquare):
        return replace(kind, shape=(1,))
    if isinstance(kind, Truncation | Square | Widen):
        return replace(kind, shape=(1,))
    # A factor of as many numbers as the result has is drawn bit by bit; the other one is spread.
    if isinstance(kind, Product) and kind.op == "mul" and kind.derived[0] in kind.free:
        return replace(kind, left=(1,), right=(1,))
    raise ShareError(f"two parties cannot make this kind of tuple: {kind.purpose}")


@cache
def transfers(kind: Kind) -> tuple[int, int]:
    """How many rows of forward and reverse transfers elements of this kind take."""
    counter = Counter()
    for _ in recipe(kind)(counter):
        pass
    return counter.forward, counter.reverse


def _relu(kind: FusedRelu, role: Role) -> Making:
    r = _mask_bits(role)
    low, s, top = _quotient(role, r, kind.bits, kind.OFFSET)
    w = _wrap(role, top, kind.bits)
    (rho,) = role.bits(1, both=True)
    rho_number = role.ring(rho, RING_BITS)
    masks, drawn = _tree_masks(role, kind)
    # The wrap is a multiple of 2^(64 - bits): its product is made without the zeros.
    numbers = [s, w >> np.uint64(RING_BITS - kind.bits)]
    sizes = [RING_BITS, kind.bits]
    if kind.exact:
        numbers.append(role.ring(masks[-1][-1], RING_BITS))
        sizes.append(RING_BITS)
    later = role.times(rho, numbers, sizes)
    packed = _compared(role, kind, r, masks)
    yield
    rho_s, rho_w, *of_low = later()
    rho_w = rho_w << np.uint64(RING_BITS - kind.bits)
    rows = [rho_number, s, w, rho_s, rho_w, *numbers[2:], *of_low]
    t = rho.plane ^ r[kind.compared].plane
    return [_whole(low, s, top, kind.bits, role, kind.OFFSET), _drawn(t, drawn)], [
        packed,
        np.stack(rows),
    ]


def _comparison(kind: Comparison, role: Role) -> Making:
    # Only the low bits of x + r are sent, so r has no others.
    r = role.bits(kind.bits + 1)
    (rho,) = role.bits(1)
    masks, drawn = _tree_masks(role, kind)
    number = _number(role, r)
    rho_number = role.ring(rho, RING_BITS)
    packed = _compared(role, kind, r, masks)
    yield
    # t = rho ^ r[bits]: any bit is uniform like t, so rho is drawn and t follows.
    t = rho.plane ^ r[kind.compared].plane
    return [number, _drawn(t, drawn)], [packed, rho_number[None]]


def _pair(kind: Pair, role: Role) -> Making:
    r = _mask_bits(role)
    (rho,) = role.bits(1, both=True)
    masks, drawn = _tree_masks(role, kind)
    # Of the numbers carried along the masks are whole words, of which no bit matters alone.
    hiding = [_number(role, r), *(role.uniform() for _ in range(kind.carried))]
    rho_number = role.ring(rho, RING_BITS)
    later = role.times(rho, hiding, [RING_BITS] * len(hiding))
    packed = _compared(role, kind, r, masks)
    yield
    t = rho.plane ^ r[kind.compared].plane
    rows = np.stack([rho_number, *later()])
    return [np.stack(hiding), _drawn(t, drawn)], [packed, rows]


def _exact_truncation(kind: ExactTruncation, role: Role) -> Making:
    r = _mask_bits(role)
    low, s, top = _quotient(role, r, kind.bits, kind.OFFSET)
    (sigma,) = role.bits(1)
    masks, drawn = _tree_masks(role, kind)
    rows = [role.ring(sigma, RING_BITS), s, _wrap(role, top, kind.bits)]
    packed = _compared(role, kind, r, masks)
    yield
    whole = _whole(low, s, top, kind.bits, role, kind.OFFSET)
    return [whole, _drawn(sigma.plane, drawn)], [packed, np.stack(rows)]


def _truncation(bits: int, role: Role) -> Making:
    r = _mask_bits(role)
    low, high = _number(role, r[:bits]), _number(role, r[bits:_TOP])
    top = role.ring(r[_TOP], RING_BITS)
    yield
    logical = high + (top << np.uint64(_TOP - bits))
    return [low + (logical << np.uint64(bits))], [np.uint64(0) - logical, top]


def _truncated_square(bits: int, role: Role) -> Making:
    r = _mask_bits(role, top=True)
    low, s, top = _quotient(role, r, bits, OFFSET)
    w = _wrap(role, top, bits)
    later_square = role.crossed(s)
    # (s + w)^2 = s^2 + 2^(65 - bits) s b + 2^(128 - 2 bits) b, with b = 1 - r[63]; so s r[63] is
    # wanted modulo 2^(bits - 1).
    later_top = role.times(r[_TOP], [s], [bits - 1]) if bits > 1 else lambda: [role.zero]
    yield
    square = s * s + later_square()[0]
    wrapped = (s - later_top()[0]) << np.uint64(RING_BITS + 1 - bits) if bits > 1 else role.zero
    if 2 * bits > RING_BITS:
        wrapped += (w >> np.uint64(RING_BITS - bits)) << np.uint64(2 * (RING_BITS - bits))
    rows = [s, s + w, square, square + wrapped]
    return [_whole(low, s, top, bits, role, OFFSET)], [np.stack(rows)]


def _choice(values: int, bits: int, role: Role) -> Making:
    drawn = role.bits(bits)
    # The index is moved above the low bits, which hide nothing: one party draws them.
    r = role.uniform() >> np.uint64(bits) if role.leads else role.zero
    for at, bit in enumerate(drawn):
        r += role.ring(bit, bits - at) << np.uint64(RING_BITS - bits + at)
    masks = [role.uniform() for _ in range(values)]
    sums = _products(role, drawn)
    laters = []
    for value in range(1 << bits):
        hot = polynomial(tuple(int(x == value) for x in range(1 << bits)))
        laters.append(role.numbers(np.bitwise_xor.reduce(sums[list(hot)], axis=0), masks))
    yield
    rows = [later() for later in laters]
    derived = [np.stack([row[0] for row in rows])]
    if not values:
        return [r], derived
    products = np.stack([np.stack(row[1:]) for row in rows])
    return [r, np.stack(masks)], [*derived, products]


def _square(role: Role) -> Making:
    number, square = role.squared()
    yield
    return [number], [square]


def _product(role: Role) -> Making:
    """Of a factor that is drawn, and the given one."""
    bits = role.bits(RING_BITS, both=True)
    later = role.scaled(bits, role.given)
    yield
    return [own_number(bits), role.given], later()


def _widen(bits: int, role: Role) -> Making:
    drawn = role.bits(bits)
    low = _number(role, drawn[:-1])
    top = role.ring(drawn[-1], RING_BITS + 1 - bits)
    low = low + (top << np.uint64(bits - 1))
    yield
    u = np.uint64(0) - low
    if role.leads:
        u -= _ONE << np.uint64(bits - 2)
    # Only the low bits of r are sent; those above are anything.
    r = low + (role.uniform() << np.uint64(bits))
    return [r], [u, top << np.uint64(bits)]


def _mask_bits(role: Role, *, top: bool = False) -> list[Bit]:
    """The 64 bits of a mask r. `top`: the highest is drawn so that both can choose by it."""
    return [*role.bits(_TOP), *role.bits(1, both=top)]


def _number(role: Role, bits: Sequence[Bit]) -> Words:
    """An additive share of the number of these bits, right modulo 2^64."""
    total = role.zero
    for at, bit in enumerate(bits):
        total += role.ring(bit, RING_BITS - at) << np.uint64(at)
    return total


def _quotient(role: Role, r: Sequence[Bit], bits: int, offset: int) -> tuple[Words, Words, Words]:
    """Shares of the low `bits` of r, of s (tuples.quotients), and of r[63] modulo 2^(bits + 1)."""
    low, high = _number(role, r[:bits]), _number(role, r[bits:_TOP])
    top = role.ring(r[_TOP], bits + 1)
    # As int64, bit 63 counts negatively.
    s = (top << np.uint64(_TOP - bits)) - high
    if role.leads:
        s -= np.uint64(offset >> bits)
    return low, s, top


def _whole(low: Words, s: Words, top: Words, bits: int, role: Role, offset: int) -> Words:
    """r from `_quotient`: its low bits, and -(s + offset) above them."""
    shifted = np.uint64(0) - s
    if role.leads:
        shifted -= np.uint64(offset >> bits)
    return low + (shifted << np.uint64(bits))


def _wrap(role: Role, top: Words, bits: int) -> Words:
    """A share of 2^(64 - bits) * (1 - r[63])."""
    unset = np.uint64(0) - top
    if role.leads:
        unset += _ONE
    return unset << np.uint64(RING_BITS - bits)


def _tree_masks(role: Role, kind: TreeTuple) -> tuple[list[list[Bit]], list[Words]]:
    """The masks of each level, in the order of Level.hidden, and their planes."""
    masks = [role.bits(level.mask_rows) for level in kind.levels]
    return masks, [bit.plane for of_level in masks for bit in of_level]


def _drawn(t: Words, masks: Sequence[Words]) -> Words:
    return np.stack([t, *masks])


def _products(role: Role, bits: Sequence[Bit]) -> Words:
    """XOR shares of all products of the bits, (2^k, W); number x is that of the bits set in x."""
    wanted = several(len(bits))
    parts = [wanted[at : at + _AT_ONCE] for at in range(0, len(wanted), _AT_ONCE)]
    found = role.lookups([(bits, lookup(len(bits), part)) for part in parts])
    return _arranged(role, bits, np.concatenate([np.empty((0, role.width), np.uint64), *found]))


def _arranged(role: Role, bits: Sequence[Bit], products: Words) -> Words:
    sums = np.zeros((1 << len(bits), role.width), np.uint64)
    sums[0] = _ONES if role.leads else 0
    for at, bit in enumerate(bits):
        sums[1 << at] = bit.plane
    sums[list(several(len(bits)))] = products
    return sums


def _compared(
    role: Role, kind: TreeTuple, r: Sequence[Bit], masks: Sequence[Sequence[Bit]]
) -> Words:
    """The tables of r's nibbles and the products of the tree's masks, as `derive` orders them."""
    nibbles = _nibbles(kind, r)
    wanted: list[_Wanted] = [(bits, lookup(len(bits), several(len(bits)))) for bits in nibbles]
    levels = list(zip(kind.levels, masks, strict=True))
    for level, of_level in levels:
        wanted += _level_lookups(level, of_level)
    found = role.lookups(wanted)
    parts = [_tables(role, nibbles, found[: len(nibbles)])]
    at = len(nibbles)
    for level, of_level in levels:
        count = len(_level_lookups(level, of_level))
        parts.append(_level_products(level, of_level, found[at : at + count]))
        at += count
    return np.concatenate(parts)


def _nibbles(kind: TreeTuple, r: Sequence[Bit]) -> list[list[Bit]]:
    """The compared bits of r, the least significant nibble first; the last may be shorter."""
    size, compared = tree.NIBBLE, kind.compared
    count = NIBBLES[compared]
    return [list(r[size * k : min(size * (k + 1), compared)]) for k in range(count)]


def _tables(role: Role, nibbles: Sequence[Sequence[Bit]], found: Sequence[Words]) -> Words:
    """LT of each nibble for v = 0 .. 14, (15 * nibbles, W), in the order of the tree."""
    sums = np.zeros((1 << tree.NIBBLE, len(nibbles), role.width), np.uint64)
    for k, (bits, products) in enumerate(zip(nibbles, found, strict=True)):
        # The tree takes the most significant group first, and in it the most significant nibble.
        fan = tree.fan_of(len(nibbles))
        group, place = divmod(len(nibbles) - 1 - k, fan)
        at = place * (len(nibbles) // fan) + group
        sums[: 1 << len(bits), at] = _arranged(role, bits, products)
    tables = np.empty((tree.TABLE, len(nibbles), role.width), np.uint64)
    for v in range(tree.TABLE):
        less = polynomial(tuple(int(v < x) for x in range(1 << tree.NIBBLE)))
        np.bitwise_xor.reduce(sums[list(less)], axis=0, out=tables[v])
    return tables.reshape(-1, role.width)


def _level_lookups(level: tree.Level, masks: Sequence[Bit]) -> list[_Wanted]:
    """For each group: the products of its eq masks, then those with each lt mask."""
    wanted: list[_Wanted] = []
    for group in range(level.groups):
        own = masks[group :: level.groups]
        eq, lt = own[: level.factors], own[level.factors :]
        if len(eq) > 1:
            wanted.append((eq, lookup(len(eq), several(len(eq)))))
        for j, mask in enumerate(lt):
            wanted.append(([*eq[: j + 1], mask], _with_last(j + 2)))
    return wanted


@cache
def _with_last(size: int) -> Lookup:
    """All products of the last of `size` bits with one or more of the others."""
    last = 1 << (size - 1)
    return lookup(size, tuple(last | others for others in range(1, last)))


def _level_products(level: tree.Level, masks: Sequence[Bit], found: Sequence[Words]) -> Words:
    """Level.products of the masks, (product_rows, W)."""
    each = iter(found)
    groups = []
    for _ in range(level.groups):
        rows = {}
        if level.factors > 1:
            for product, plane in zip(several(level.factors), next(each), strict=True):
                rows[product, -1] = plane
        for j in range(level.fan - 1):
            for others, plane in enumerate(next(each), 1):
                rows[others, j] = plane
        groups.append([rows[place] for place in level.products_named])
    stacked: Words = np.stack(groups, axis=1).reshape(level.product_rows, -1)
    return stacked
