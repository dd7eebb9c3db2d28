"""Polynomials of Z_q[X] / (X^8192 + 1) with q = 2^216, for products with encrypted weights.

A polynomial is int64 (LIMBS, ..., DEGREE): its coefficients in LIMBS digits of LIMB_BITS bits, the
lowest first. A secret has coefficients -1, 0 and 1, an error the difference of two sums of
ERROR_PAIRS bits, whose standard deviation is 3.24.

Security. With degree 8192 and uniform ternary secrets the standard of HomomorphicEncryption.org
(2018, table 1) has log q <= 218 for 128 bits against classical attacks; its errors have a deviation
of 3.2. A lattice estimator has not been run. That table is for any q: the attacks depend on its
size, not on its factors.

Exactness. A product with a small polynomial is made by a transform in float64. X^8192 + 1 becomes
X^4096 - i, so each transform has 2^12 complex points. By Brent, Percival and Zimmermann (Math.
Comp. 76, 2007, theorem 5.1) the error of a convolution of x and y is at most |x| |y| times

    (1 + e)^(3k) (1 + e sqrt 5)^(3k + 1) (1 + b)^(3k) - 1        e = 2^-53, k = 12, b: of the roots

With b = 2^-52, and three more factors for the twist, that is below 2^8 e. A digit is centred, at
most 2^26 in size, so |x| <= 2^26 * 2^6.5 and |y| <= 2^6.5, and the error is below 2^-6: rounding
gives the whole number. A product of two large polynomials is made of digits of 13 bits, at most
2^12 in size: the error of a pair is below 2^(12 + 6.5 + 12 + 6.5 + 8 - 53) = 2^-8, that of the five
pairs in a digit of the result below 2^-5. `check` compares this computer's transforms with
integers, when a server starts.
"""

import os
from operator import mul

import numpy as np
import numpy.typing as npt

from parties.mpc.prg import KEY_BYTES, KeyStream
from privedge.errors import NotReady
from privedge.sharing.ring import Words

DEGREE = 8192
LIMB_BITS = 27
LIMBS = 8
Q_BITS = LIMB_BITS * LIMBS
# What a message of 64 bits is multiplied by: 2^152.
SCALE_BITS = Q_BITS - 64
# The largest error there is.
ERROR_PAIRS = 21

_HALF = DEGREE // 2
_DIGIT = (1 << LIMB_BITS) - 1
_BYTE = 8
# Digits for products of two large polynomials.
_FINE_BITS = 13
_FINE = -(-Q_BITS // _FINE_BITS)
# The lowest digits of such a product are left out: four sums of at most 2^42.4 each.
_LEFT_OUT = 4
LEFT_OUT_BITS = _FINE_BITS * (_LEFT_OUT - 1) + 43
# Where a scaled message begins: in this digit, at this bit.
_FIRST, _SHIFT = divmod(SCALE_BITS, LIMB_BITS)
_TWIST = np.exp(1j * np.pi * np.arange(_HALF) / DEGREE)

# int64 (LIMBS, ..., DEGREE), or (..., DEGREE) for a small polynomial.
Poly = npt.NDArray[np.int64]
# complex128 (..., DEGREE // 2).
Transform = npt.NDArray[np.complex128]


def transformed(small: Poly) -> Transform:
    """The transform of polynomials with coefficients of at most 2^26 in size, (..., DEGREE)."""
    packed = (small[..., :_HALF] + 1j * small[..., _HALF:]) * _TWIST
    found: Transform = np.fft.fft(packed, axis=-1)
    return found


def multiplied(limbs: Transform, small: Transform) -> Poly:
    """The product of a polynomial, transformed digit by digit (LIMBS, ..., _), and a ternary one.

    Digits are as large as they come, at most 2^40; see `carried`.
    """
    return _back(limbs * small)


def finely(poly: Poly) -> Transform:
    """The transform of a carried polynomial (LIMBS, DEGREE) for `large_product`, (17, _)."""
    bits = [divmod(_FINE_BITS * at, LIMB_BITS) for at in range(_FINE)]
    digits = np.zeros((_FINE, poly.shape[-1]), np.int64)
    for digit, (limb, shift) in zip(digits, bits, strict=True):
        digit |= poly[limb] >> shift
        if shift + _FINE_BITS > LIMB_BITS and limb + 1 < LIMBS:
            digit |= poly[limb + 1] << (LIMB_BITS - shift)
        digit &= (1 << _FINE_BITS) - 1
    return transformed(_balanced(digits, _FINE_BITS))


def finely_of_words(words: Words) -> Transform:
    """The transform of a polynomial with these coefficients, (DEGREE,), as `signed_digits` has
    them: (5, _).
    """
    return transformed(signed_digits(words, _FINE_BITS))


def large_product(poly: Transform, words: Transform) -> Poly:
    """The product of a polynomial and one of 64-bit words (DEGREE,), from `finely` and
    `finely_of_words`: digits as large as they come, at most 2^42. It is off by at most
    2^LEFT_OUT_BITS.
    """
    sums = np.zeros((_FINE - _LEFT_OUT, poly.shape[-1]), np.complex128)
    for at, factor in enumerate(words):
        sums += poly[_LEFT_OUT - at : _FINE - at] * factor
    product = np.zeros((LIMBS, DEGREE), np.int64)
    for at, digit in enumerate(_back(sums), _LEFT_OUT):
        add_shifted(product, _FINE_BITS * at, digit)
    return product


def add_shifted(digits: Poly, bits: int, number: Poly) -> None:
    """Add 2^bits times numbers below 2^62 in size to digits (n, ...). What is above is lost."""
    limb, shift = divmod(bits, LIMB_BITS)
    low = LIMB_BITS - shift
    if limb < len(digits):
        digits[limb] += (number & ((1 << low) - 1)) << shift
    if limb + 1 < len(digits):
        digits[limb + 1] += number >> low


def signed_digits(words: Words, bits: int) -> Poly:
    """Words as whole numbers from -2^63 to 2^63 - 1, in digits of -2^(bits - 1) to 2^(bits - 1),
    the lowest first: (n, ...). All that multiply by a word take it as the same number.
    """
    signed, count = words.view(np.int64), -(-64 // bits)
    digits = np.stack([signed >> (bits * at) for at in range(count)])
    digits[:-1] &= (1 << bits) - 1
    return _balanced(digits, bits)


def _balanced(digits: Poly, bits: int) -> Poly:
    """Digits of 0 to 2^bits - 1 -> -2^(bits - 1) to 2^(bits - 1), in place; the highest only takes
    what is carried.
    """
    half = 1 << (bits - 1)
    for at, digit in enumerate(digits[:-1]):
        carry = digit >= half
        digit -= carry.astype(np.int64) << bits
        digits[at + 1] += carry
    return digits


def _back(transform: Transform) -> Poly:
    """The whole numbers nearest to what was transformed."""
    back = np.fft.ifft(transform, axis=-1) * np.conj(_TWIST)
    halves = [np.rint(back.real), np.rint(back.imag)]
    return np.concatenate(halves, axis=-1).astype(np.int64)


def centred(poly: Poly) -> Poly:
    """The same modulo q, with digits of -2^26 to 2^26. The lowest digits may be left out."""
    digits = poly.copy()
    for limb in range(len(digits)):
        over = digits[limb] >= 1 << (LIMB_BITS - 1)
        digits[limb] -= over.astype(np.int64) << LIMB_BITS
        if limb + 1 < len(digits):
            digits[limb + 1] += over
    return digits


def carried(digits: Poly) -> Poly:
    """Any digits below 2^62 in size -> those of the same number modulo q, 0 to 2^27 - 1."""
    whole = np.empty_like(digits)
    carry = np.zeros_like(digits[0])
    for limb in range(len(digits)):
        total = digits[limb] + carry
        np.bitwise_and(total, _DIGIT, out=whole[limb])
        carry = total >> LIMB_BITS
    return whole


def scaled(words: Words) -> Poly:
    """2^152 times each word, (LIMBS, ...)."""
    poly = np.zeros((LIMBS, *words.shape), np.int64)
    digit = np.uint64(_DIGIT)
    low = LIMB_BITS - _SHIFT
    poly[_FIRST] = ((words & np.uint64((1 << low) - 1)) << np.uint64(_SHIFT)).view(np.int64)
    for limb in range(_FIRST + 1, LIMBS):
        at = np.uint64(low + LIMB_BITS * (limb - _FIRST - 1))
        poly[limb] = ((words >> at) & digit).astype(np.int64)
    return poly


def unscaled(poly: Poly) -> Words:
    """floor(x / 2^152) of carried polynomials, of which the lowest digits may be left out."""
    first = len(poly) - (LIMBS - _FIRST)
    digits = poly.astype(np.uint64)
    words: Words = digits[first] >> np.uint64(_SHIFT)
    for limb in range(first + 1, len(poly)):
        words |= digits[limb] << np.uint64(LIMB_BITS * (limb - first) - _SHIFT)
    return words


def to_bytes(poly: Poly) -> bytes:
    """Carried digits (L, n) -> the 27 L bits of each coefficient, in whole bytes."""
    bits = LIMB_BITS * len(poly)
    raw = np.empty((poly.shape[1], -(-bits // _BYTE)), np.uint8)
    for byte in range(raw.shape[1]):
        limb, shift = divmod(_BYTE * byte, LIMB_BITS)
        value = poly[limb] >> shift
        if LIMB_BITS - shift < _BYTE and limb + 1 < len(poly):
            value = value | poly[limb + 1] << (LIMB_BITS - shift)
        raw[:, byte] = value & 0xFF
    return raw.tobytes()


def coefficient_bytes(limbs: int) -> int:
    """What `to_bytes` needs for a coefficient."""
    return -(-LIMB_BITS * limbs // _BYTE)


def from_bytes(raw: bytes, limbs: int) -> Poly:
    """Inverse of `to_bytes`, for that many digits. Bits above them are dropped."""
    wide = coefficient_bytes(limbs)
    columns = np.frombuffer(raw, np.uint8).reshape(-1, wide).astype(np.int64)
    poly = np.zeros((limbs, len(columns)), np.int64)
    for limb in range(limbs):
        first, shift = divmod(LIMB_BITS * limb, _BYTE)
        for byte in range(first, min(first + 5, wide)):
            at = _BYTE * (byte - first) - shift
            poly[limb] |= columns[:, byte] << at if at >= 0 else columns[:, byte] >> -at
    return poly & _DIGIT


def uniform(stream: KeyStream, *shape: int) -> Poly:
    """Uniform modulo q, (LIMBS, *shape)."""
    words = stream.take((LIMBS // 2, *shape)).numpy()
    poly = np.empty((LIMBS, *shape), np.int64)
    poly[0::2], poly[1::2] = words & _DIGIT, (words >> 32) & _DIGIT
    return poly


def ternary(stream: KeyStream) -> Poly:
    """Uniform coefficients of -1, 0 and 1, (DEGREE,). Two bits each; 3 is drawn again."""
    kept = np.empty(0, np.uint8)
    while len(kept) < DEGREE:
        raw = stream.take((DEGREE // 32 + 64,)).numpy().view(np.uint8)
        pairs = np.concatenate([raw >> shift & 3 for shift in (0, 2, 4, 6)])
        kept = np.concatenate([kept, pairs[pairs < 3]])
    return kept[:DEGREE].astype(np.int64) - 1


def error(stream: KeyStream, *shape: int) -> Poly:
    """Centred binomial errors of -21 to 21."""
    words = stream.take(shape).numpy().view(np.uint64)
    ones = np.uint64((1 << ERROR_PAIRS) - 1)
    counts = [np.bitwise_count(part & ones) for part in (words, words >> np.uint64(ERROR_PAIRS))]
    drawn: Poly = counts[0].astype(np.int64) - counts[1].astype(np.int64)
    return drawn


def fresh() -> KeyStream:
    """A stream of a fresh seed from the operating system."""
    return KeyStream(os.urandom(KEY_BYTES))


def check() -> None:
    """Compare this computer's transforms with integers, at the sizes that they are used for.

    Raises NotReady if a product is not exact.
    """
    if not (_ternary_are_exact() and _large_are_exact()):
        raise NotReady(
            "two-party randomness: this computer's float64 transforms are not exact; "
            "use randomness = dealer"
        )


def _ternary_are_exact() -> bool:
    largest = np.full(DEGREE, 1 << (LIMB_BITS - 1), np.int64)
    signs = np.where(np.arange(DEGREE) % 3 == 0, -1, 1)
    stream = KeyStream(bytes(KEY_BYTES))
    mixed = centred(uniform(stream, DEGREE))[0]
    return all(
        np.array_equal(
            multiplied(transformed(digits), transformed(small)), _by_integers(digits, small)
        )
        for digits in (largest, largest * signs, mixed)
        for small in (np.ones(DEGREE, np.int64), signs, ternary(stream))
    )


def _large_are_exact() -> bool:
    """At the first and the last coefficient, where all others meet with one and with both signs."""
    stream = KeyStream(bytes(KEY_BYTES))
    polynomials = (uniform(stream, DEGREE), carried(np.full((LIMBS, DEGREE), 1 << 26, np.int64)))
    words = stream.take((DEGREE,)).numpy().view(np.uint64)
    for poly in polynomials:
        for factor in (words, np.full(DEGREE, 0x7FFF_FFFF_FFFF_FFFF, np.uint64)):
            found = _numbers(carried(large_product(finely(poly), finely_of_words(factor))))
            wide, signed = _numbers(poly), [int(word) for word in factor.view(np.int64)]
            first = wide[0] * signed[0] - sum(map(mul, wide[1:], signed[:0:-1]))
            last = sum(map(mul, wide, signed[::-1]))
            for one, other in ((found[0], first), (found[-1], last)):
                off = (one - other) % (1 << Q_BITS)
                if min(off, (1 << Q_BITS) - off) > 1 << LEFT_OUT_BITS:
                    return False
    return True


def _numbers(poly: Poly) -> list[int]:
    """The coefficients of a carried polynomial."""
    raw, size = to_bytes(poly), coefficient_bytes(LIMBS)
    return [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size)]


def _by_integers(one: Poly, small: Poly) -> Poly:
    """Their product modulo X^DEGREE + 1, coefficient by coefficient."""
    total = np.zeros(2 * DEGREE, np.int64)
    for at in range(DEGREE):
        total[at : at + DEGREE] += small[at] * one
    product: Poly = total[:DEGREE] - total[DEGREE:]
    return product
