"""The tree of parties/mpc/fused/tree.py on packed bits: each word of a tuple is read once.

All arrays are uint64 in C order, W words in a row unless a shape is given. Rows are handled in
blocks of so many words that whatever is computed between reading and writing stays in the first
cache. What a loop is over is cut out first, so that its index counts from 0: then LLVM sees that it
is never negative, and finds vector instructions.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from parties.mpc.compiled.compiler import helper, kernel
from privedge.sharing.ring import Words

# What each row of a level's list is: product number k, or mask number -1 - k.
Sources: TypeAlias = npt.NDArray[np.int64]
# The four planes of a nibble.
Planes: TypeAlias = tuple[Words, Words, Words, Words]

_BLOCK = 64

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_0 = np.uint64(0)


@helper
def _clear(row: Words) -> None:
    for j in range(row.size):
        row[j] = _0


@helper
def _copy(row: Words, into: Words) -> None:
    """As many words as the shorter one has."""
    for j in range(min(row.size, into.size)):
        into[j] = row[j]


@helper
def _hide(row: Words, mask: Words, into: Words) -> None:
    for j in range(mask.size):
        into[j] = row[j] ^ mask[j]


@helper
def _transpose(rows: Words) -> None:
    """rows (64 of any length): 64 x 64 bits in each column, transposed (Hacker's Delight 7-3)."""
    step, low = 32, _LOW
    while step:
        shift, half = np.uint64(step), step * (rows.size // 64)
        for start in range(0, rows.size, 2 * half):
            upper, lower = rows[start : start + half], rows[start + half : start + 2 * half]
            for k in range(half):
                swap = ((upper[k] >> shift) ^ lower[k]) & low
                lower[k] ^= swap
                upper[k] ^= swap << shift
        step //= 2
        low ^= low << np.uint64(step)


@helper
def _load(values: Words, w: int, words: int, rows: Words) -> None:
    """The planes of all elements (fused/packing.py), from word w on: as many as `rows` has."""
    block = rows.size // 64
    for i in range(64):
        at = min(i * words + w, values.size)
        given = values[at : min(at + block, i * words + words)]
        into = rows[i * block : i * block + block]
        _copy(given, into)
        # Nothing where there is no element.
        _clear(into[given.size :])
    _transpose(rows)


@helper
def _nibble(rows: Words, row: int, fan: int, groups: int) -> Planes:
    """The planes of the nibble that is `row` of the tree's order (fan, groups)."""
    place, group = row // groups, row % groups
    block, first = rows.size // 64, 4 * (fan * (groups - group) - 1 - place)
    b0, b1 = rows[first * block :], rows[(first + 1) * block :]
    return b0, b1, rows[(first + 2) * block :], rows[(first + 3) * block :]


@helper
def _choose(no: np.uint64, yes: np.uint64, mask: np.uint64) -> np.uint64:
    return no ^ ((no ^ yes) & mask)


@helper
def _narrow(entries: Words, bits: Planes, one: np.uint64, found: Words, width: int) -> None:
    """fused.tree.look_up of one nibble: its less-than, and from found[_BLOCK] on its equal-to."""
    b0, b1, b2, b3 = bits
    for j in range(width):
        bit = b3[j]
        t7 = entries[7 * _BLOCK + j]
        w0 = _choose(one, t7, bit)
        w1 = _choose(entries[0 * _BLOCK + j], entries[8 * _BLOCK + j], bit)
        w2 = _choose(entries[1 * _BLOCK + j], entries[9 * _BLOCK + j], bit)
        w3 = _choose(entries[2 * _BLOCK + j], entries[10 * _BLOCK + j], bit)
        w4 = _choose(entries[3 * _BLOCK + j], entries[11 * _BLOCK + j], bit)
        w5 = _choose(entries[4 * _BLOCK + j], entries[12 * _BLOCK + j], bit)
        w6 = _choose(entries[5 * _BLOCK + j], entries[13 * _BLOCK + j], bit)
        w7 = _choose(entries[6 * _BLOCK + j], entries[14 * _BLOCK + j], bit)
        w8 = t7 & ~bit
        bit = b2[j]
        w0, w1, w2 = _choose(w0, w4, bit), _choose(w1, w5, bit), _choose(w2, w6, bit)
        w3, w4 = _choose(w3, w7, bit), _choose(w4, w8, bit)
        bit = b1[j]
        w0, w1, w2 = _choose(w0, w2, bit), _choose(w1, w3, bit), _choose(w2, w4, bit)
        bit = b0[j]
        w0, w1 = _choose(w0, w1, bit), _choose(w1, w2, bit)
        found[j] = w1
        found[_BLOCK + j] = w0 ^ w1


@kernel(
    "void(Tuple((uint64[::1], uint64[::1], int64)), "
    "Tuple((uint64[:,::1], uint64[:,::1], uint64)), "
    "Tuple((uint64[:,::1], uint64[:,::1], uint64[::1])))"
)
def look_up(
    opened: tuple[Words, Words, int],
    shares: tuple[Words, Words, np.uint64],
    results: tuple[Words, Words, Words],
) -> None:
    """What a comparison's first level opens, from both halves of the opened c.

    opened   theirs and mine, (n,): theirs becomes c, their sum; and how many low bits are compared
    shares   of the tables (15 * nibbles rows), of the first level's masks, of a word of ones
    results  become: a share of the groups' first less-than, one row a group; a share of what the
             level opens, laid out as the masks; and the bit of c above those compared, (W,)
    """
    (theirs, mine, compared), (table, masks, one), (first, used, public) = opened, shares, results
    words, groups = public.size, first.shape[0]
    fan = table.shape[0] // (15 * groups)
    factors = used.shape[0] // groups - (fan - 1)
    block = min(_BLOCK, words)
    rows, entries = np.empty(64 * block, np.uint64), np.empty(15 * _BLOCK, np.uint64)
    found = np.empty(2 * _BLOCK, np.uint64)
    for k in range(mine.size):
        theirs[k] += mine[k]
    for w in range(0, words, _BLOCK):
        end = min(w + _BLOCK, words)
        _load(theirs, w, words, rows)
        _copy(rows[compared * block :], public[w:end])
        _clear(rows[compared * block : 4 * fan * groups * block])
        for row in range(fan * groups):
            for v in range(15):
                _copy(table[v * fan * groups + row, w:end], entries[v * _BLOCK :])
            _narrow(entries, _nibble(rows, row, fan, groups), one, found, end - w)
            if row < groups:
                _copy(found, first[row, w:end])
            else:
                at = factors * groups + row - groups
                _hide(found, masks[at, w:end], used[at, w:end])
            if row < factors * groups:
                _hide(found[_BLOCK:], masks[row, w:end], used[row, w:end])


@helper
def _replace(known: Words, seen: Words, half: Words, rows: int) -> None:
    """Of each pair of rows, without and with a mask: seen * (without) ^ (with)."""
    for k in range(rows):
        without, with_it = known[2 * k * _BLOCK :], known[(2 * k + 1) * _BLOCK :]
        into = half[k * _BLOCK :]
        for j in range(seen.size):
            into[j] = (without[j] & seen[j]) ^ with_it[j]


@helper
def _list(
    masks: Words, products: Words, sources: Sources, of: tuple[int, int], at: slice, known: Words
) -> None:
    """All rows of a level's list but the first, of one group: `of` is its number and how many."""
    group, groups = of
    for k in range(1, sources.size):
        source = sources[k]
        if source < 0:
            _copy(masks[(-1 - source) * groups + group, at], known[k * _BLOCK :])
        else:
            _copy(products[source * groups + group, at], known[k * _BLOCK :])


@helper
def _add(prefix: Words, lt: Words, masked: Words, joined: Words) -> None:
    """XOR onto `joined` the prefix times what `lt` hides, from the prefix times its mask."""
    for j in range(lt.size):
        joined[j] ^= (prefix[j] & lt[j]) ^ masked[j]


@kernel(
    "void(uint64[:,::1], uint64[:,::1], uint64[:,::1], uint64[:,::1], uint64[:,::1], "
    "uint64[:,::1], int64[::1], int64, uint64, uint64[:,::1], uint64[:,::1])"
)
def join(
    first: Words,
    theirs: Words,
    mine: Words,
    masks: Words,
    products: Words,
    following: Words,
    sources: Sources,
    factors: int,
    one: np.uint64,
    after: Words,
    used: Words,
) -> None:
    """A level's join (fused.tree.Level.join), and what is opened next.

    first             a share of the first less-than, which is not opened, one row a group
    theirs, mine      both halves of what the level opened; theirs becomes their XOR
    masks, products   shares of the level's masks and of their products
    following         a share of the next level's masks, or of t for the last level
    sources, factors  the level's list, and how many equal-tos it multiplies
    one               this party's share of a word of ones
    after             becomes the next level's `first`; means nothing for the last level
    used              becomes what is opened next, laid out as `following`
    """
    groups, words = first.shape
    fan = masks.shape[0] // groups - factors + 1
    last = factors < fan
    known, half = np.empty((2, sources.size * _BLOCK), np.uint64)
    joined = np.empty(_BLOCK, np.uint64)
    for i in range(mine.shape[0]):
        for j in range(words):
            theirs[i, j] ^= mine[i, j]
    for w in range(0, words, _BLOCK):
        width = min(_BLOCK, words - w)
        for group in range(groups):
            for j in range(_BLOCK):
                known[j] = one
            for k in range(1, sources.size):
                source = sources[k]
                if source < 0:
                    _copy(masks[(-1 - source) * groups + group, w : w + width], known[k * _BLOCK :])
                else:
                    _copy(products[source * groups + group, w : w + width], known[k * _BLOCK :])
            _copy(first[group, w : w + width], joined)
            rows = sources.size
            for i in range(factors):
                rows //= 2
                _replace(known, theirs[i * groups + group, w : w + width], half, rows)
                known, half = half, known
                if i < fan - 1:
                    rows -= 1
                    lt = theirs[(factors + i) * groups + group, w : w + width]
                    _add(known, lt, known[rows * _BLOCK :], joined)
            # The next level's rows are groups - 1 equal-tos, then groups - 1 less-thans.
            at = 0 if last else groups - 2 + group
            if group or last:
                _hide(joined, following[at, w : w + width], used[at, w : w + width])
            else:
                _copy(joined, after[0, w : w + width])
            if group < groups - 1:
                _hide(known, following[group, w : w + width], used[group, w : w + width])


@helper
def _zeros(v: int) -> tuple[np.uint64, np.uint64]:
    """For v below 4, masks: whether its bits 1 and 0 are 0."""
    return (_0 if v & 2 else _ALL), (_0 if v & 1 else _ALL)


@helper
def _entry(v: int, bits: Planes, into: Words) -> None:
    """XOR [v < n] onto `into`: the high two bits of v are less than those of n, or equal and the
    low ones less. v is public.
    """
    p0, p1, p2, p3 = bits
    (z3, z2), (z1, z0) = _zeros(v >> 2), _zeros(v & 3)
    for j in range(into.size):
        b0, b1, b2, b3 = p0[j], p1[j], p2[j], p3[j]
        # Of two bits: the upper one is 1 over 0, or they are equal and the lower one is.
        low = (b2 ^ z2) & ((b1 & z1) ^ ((b1 ^ z1) & b0 & z0))
        into[j] ^= (b3 & z3) ^ ((b3 ^ z3) & ((b2 & z2) ^ low))


@kernel("void(uint64[::1], Tuple((int64, int64)), uint64[:,::1], uint64[::1])")
def tables(r: Words, of: tuple[int, int], table: Words, bit: Words) -> None:
    """Dealer: XOR the tables of r's nibbles onto `table`, 15 * nibbles rows (fused.tree.tables).

    r    (n,)
    of   how many low bits of r are meant, and how many nibbles a group has
    bit  (W,), becomes the bit of r above them
    """
    (compared, fan), words, nibbles = of, bit.size, table.shape[0] // 15
    block = min(_BLOCK, words)
    rows = np.empty(64 * block, np.uint64)
    for w in range(0, words, _BLOCK):
        end = min(w + _BLOCK, words)
        _load(r, w, words, rows)
        _copy(rows[compared * block :], bit[w:end])
        _clear(rows[compared * block : 4 * nibbles * block])
        for row in range(nibbles):
            bits = _nibble(rows, row, fan, nibbles // fan)
            for v in range(15):
                _entry(v, bits, table[v * nibbles + row, w:end])


@helper
def _times(known: Words, count: int, mask: Words, at: int) -> None:
    """Rows at, at + 1, ... become the first `count` rows, each AND the mask."""
    for k in range(count):
        row, into = known[k * _BLOCK :], known[(at + k) * _BLOCK :]
        for j in range(mask.size):
            into[j] = row[j] & mask[j]


@kernel("void(uint64[:,::1], Tuple((int64[::1], int64, int64)), uint64[:,::1])")
def products(masks: Words, level: tuple[Sources, int, int], result: Words) -> None:
    """Dealer: XOR the products of a level's masks onto `result` (fused.tree.Level.products).

    `level`: its list, how many equal-tos it multiplies, and its groups.
    """
    sources, factors, groups = level
    words = masks.shape[1]
    fan = masks.shape[0] // groups - factors + 1
    known = np.empty(sources.size * _BLOCK, np.uint64)
    for w in range(0, words, _BLOCK):
        end = min(w + _BLOCK, words)
        for group in range(groups):
            for j in range(_BLOCK):
                known[j] = _ALL
            rows = 1
            for i in range(factors):
                _times(known, rows, masks[i * groups + group, w:end], rows)
                rows *= 2
            for i in range(fan - 2, -1, -1):
                mask = masks[(factors + i) * groups + group, w:end]
                _times(known, 2 << i, mask, rows)
                rows += 2 << i
            for k in range(1, rows):
                if sources[k] >= 0:
                    into = result[sources[k] * groups + group, w:end]
                    _hide(known[k * _BLOCK :], into, into)
