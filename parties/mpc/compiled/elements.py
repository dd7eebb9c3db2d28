"""What is done to the elements of a tuple one by one: each word of a tuple is read once.

All arrays are uint64 in C order. n elements have packed bits in W words (fused/packing.py). Loops
over many arrays are cut in blocks, and within a block into loops over few: LLVM gives up making
vectors of a loop that would need more than eight tests of whether arrays overlap. Places are
unsigned, because a signed one would be tested for counting from the end.
"""

from typing import TypeAlias

import numpy as np

from parties.mpc.compiled.compiler import helper, kernel
from privedge.sharing.ring import Words

Index: TypeAlias = np.uint64

_BLOCK = np.uint64(512)

_0, _1, _2, _63, _64 = map(np.uint64, (0, 1, 2, 63, 64))


@helper
def _bit(packed: Words, w: Index, i: int) -> np.uint64:
    """Bit i of word w, as a mask of 64 bits."""
    mask: np.uint64 = _0 - ((packed[w] >> np.uint64(i)) & _1)
    return mask


@helper
def _sign(word: np.uint64) -> np.uint64:
    return _0 - (word >> _63)


@helper
def _shifted(word: np.uint64, bits: np.uint64) -> np.uint64:
    """A word shifted right as int64 is, by 1 to 63 bits."""
    shifted: np.uint64 = (word >> bits) | (_sign(word) << (_64 - bits))
    return shifted


@helper
def _row(packed: Words, elements: Words, i: int) -> tuple[Index, Index]:
    """Where the elements of bit i begin, and how many there are."""
    at = i * packed.size
    return np.uint64(at), np.uint64(min(packed.size, max(0, elements.size - at)))


@kernel("void(uint64[::1], uint64[::1], uint64, uint64[::1])")
def unmasked(packed: Words, mask: Words, one: np.uint64, result: Words) -> None:
    """fused.compare._unmasked: `packed` (W,); mask and result (n,); `one` is 1 at party 0."""
    for i in range(64):
        at, width = _row(packed, mask, i)
        for w in range(width):
            m = mask[at + w]
            result[at + w] = ((one - m - m) & _bit(packed, w, i)) + m


@kernel(
    "void(uint64[::1], UniTuple(uint64[::1], 2), uint64[:,::1], uint64, uint64, "
    "UniTuple(uint64[::1], 2))"
)
def rectify(
    opened: Words,
    packed: tuple[Words, Words],
    numbers: Words,
    bits: np.uint64,
    one: np.uint64,
    results: tuple[Words, Words],
) -> None:
    """fused.compare._selected: what was opened and both results (n,), `packed` (W,).

    numbers   (k, n), shares of rho, s, w, rho * s, rho * w; if exact, also of sigma and rho * sigma
    one       1 at party 0, else 0
    """
    (flipped, low), (relu, quotient) = packed, results
    exact = numbers.shape[0] == 7
    leader = _0 - one
    for i in range(64):
        at, count = _row(flipped, opened, i)
        for start in range(_0, count, _BLOCK):
            block = range(start, min(start + _BLOCK, count))
            for w in block:
                c = opened[at + w]
                share = (_sign(c) & numbers[2, at + w]) + numbers[1, at + w]
                quotient[at + w] = share + (_shifted(c, bits) & leader)
            for w in block:
                c = opened[at + w]
                hidden = (_sign(c) & numbers[4, at + w]) + numbers[3, at + w]
                relu[at + w] = hidden + _shifted(c, bits) * numbers[0, at + w]
            if exact:
                for w in block:
                    rho, sigma, both = numbers[0, at + w], numbers[5, at + w], numbers[6, at + w]
                    borrow = _bit(low, w, i)
                    quotient[at + w] -= ((one - sigma - sigma) & borrow) + sigma
                    relu[at + w] -= ((rho - both) & borrow) | (both & ~borrow)
            for w in block:
                hidden = relu[at + w]
                chosen = (quotient[at + w] - hidden - hidden) & _bit(flipped, w, i)
                relu[at + w] = chosen + hidden


@kernel("void(UniTuple(uint64[::1], 2), uint64[:,::1], uint64, uint64, uint64[::1])")
def square(
    opened: tuple[Words, Words], numbers: Words, bits: np.uint64, one: np.uint64, result: Words
) -> None:
    """The local end of fused.squares.truncated_square.

    opened   theirs and mine, (n,), as the result is
    numbers  (4, n), shares of s0, s1 and their squares
    one      1 at party 0, else 0
    """
    theirs, mine = opened
    leader = _0 - one
    for k in range(mine.size):
        c = theirs[k] + mine[k]
        sign, public = _sign(c), _shifted(c, bits)
        s = ((numbers[0, k] ^ numbers[1, k]) & sign) ^ numbers[0, k]
        whole = ((numbers[2, k] ^ numbers[3, k]) & sign) ^ numbers[2, k]
        result[k] = whole + public * (_2 * s + (public & leader))


@kernel("void(uint64[::1], UniTuple(uint64[::1], 2), uint64, uint64, uint64[:,::1])")
def relu_numbers(
    r: Words, packed: tuple[Words, Words], bits: np.uint64, offset: np.uint64, theirs: Words
) -> None:
    """Dealer: what is left of the numbers of a comparison or a ReLU, in place of `theirs` (k, n).

    r       (n,)
    packed  rho and sigma, (W,)
    offset  the ReLU's, shifted right by `bits`
    k       1 for rho alone; 5 for rho, s, w, rho * s, rho * w; 7 if sigma, rho * sigma follow
    """
    rho, sigma = packed
    every, exact = theirs.shape[0] >= 5, theirs.shape[0] == 7
    weight = _1 << (_64 - bits)
    for i in range(64):
        at, count = _row(rho, r, i)
        for start in range(_0, count, _BLOCK):
            block = range(start, min(start + _BLOCK, count))
            for w in block:
                theirs[0, at + w] = (_0 - _bit(rho, w, i)) - theirs[0, at + w]
            if every:
                for w in block:
                    s = _0 - _shifted(r[at + w], bits) - offset
                    theirs[1, at + w] = s - theirs[1, at + w]
                    theirs[3, at + w] = (s & _bit(rho, w, i)) - theirs[3, at + w]
                for w in block:
                    wrap = ~_sign(r[at + w]) & weight
                    theirs[2, at + w] = wrap - theirs[2, at + w]
                    theirs[4, at + w] = (wrap & _bit(rho, w, i)) - theirs[4, at + w]
            if exact:
                for w in block:
                    borrow = _0 - _bit(sigma, w, i)
                    theirs[5, at + w] = borrow - theirs[5, at + w]
                    theirs[6, at + w] = (borrow & _bit(rho, w, i)) - theirs[6, at + w]


@kernel("void(uint64[::1], uint64, uint64, uint64[:,::1])")
def square_numbers(r: Words, bits: np.uint64, offset: np.uint64, theirs: Words) -> None:
    """Dealer: what is left of s0, s1 and their squares, in place of `theirs` (4, n); r (n,)."""
    weight = _1 << (_64 - bits)
    for k in range(r.size):
        s = _0 - _shifted(r[k], bits) - offset
        t = s + (~_sign(r[k]) & weight)
        theirs[0, k] = s - theirs[0, k]
        theirs[1, k] = t - theirs[1, k]
        theirs[2, k] = s * s - theirs[2, k]
        theirs[3, k] = t * t - theirs[3, k]
