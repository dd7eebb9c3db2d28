"""Products of XOR-shared bits: a 1-of-2^k transfer, made of k random transfers of one bit.

P's shares x_0 of k bits are its choices. S has shares x_1, and wants that both have shares of a
function f of x = x_0 ^ x_1: here some products of the bits, as a word of a few bits. With the two
hashed keys of transfer i cut in 2^(k-1) segments, one for each value of the other bits,

    pad_j   = sum over i of segment (j without bit i) of key number (bit i of j)
    S       share f(0 ^ x_1) ^ pad_0, and sends f(j ^ x_1) ^ pad_j ^ its share, for j = 1 .. 2^k - 1
    P       knows pad_j for j = x_0 only. Its share is that ^ what was sent for it (0 for j = 0)

Each pad that P does not know has a segment that is in no other pad, so all of them are uniform to
P (Naor and Pinkas, STOC 1999, with segments in place of a pseudorandom function).

Both look into arrays at places that depend on their own secrets (in their own memory).
"""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from parties.mpc.twoparty.keys import WORD
from privedge.sharing.ring import Words

# Words of a few bits: of the narrowest type that has room for all products.
Few = npt.NDArray[Any]
_BLOCK_BYTES = 16
_BYTE = 8


class Lookup:
    """Some products of `size` bits. Bit i of a product's number says whether bit i is in it."""

    def __init__(self, size: int, products: Sequence[int]) -> None:
        self.size = size
        self.products = tuple(products)
        wide = next(width for width in (8, 16, 32, 64) if len(products) <= width)
        self._type = np.dtype(f"uint{wide}")
        segments = self._type.itemsize << (size - 1)
        # Hashed blocks of each key.
        self.blocks = -(-segments // _BLOCK_BYTES)
        self._bits = len(products) * ((1 << size) - 1)
        # Bytes that S sends for each element.
        self.bytes = -(-self._bits // _BYTE)

    def send(self, pads: Sequence[tuple[Words, Words]], own: Words) -> tuple[Few, Few]:
        """S: what it sends, (n, bytes) uint8, and its share (n,).

        pads: both hashed keys of each bit, (n, 2 * blocks). own: its bits (n,), as a number.
        """
        wanted = self._values
        at = own.astype(np.intp)
        padded = self._padded(pads)
        padded[0] ^= wanted[at]
        share = padded[0].copy()
        for j in range(1, 1 << self.size):
            padded[j] ^= wanted[at ^ j]
            padded[j] ^= share
        self._blank(padded)
        return self._packed(padded[1:]), share & self._ones

    def receive(self, pads: Sequence[Words], own: Words, sent: Few) -> Few:
        """P: its share (n,). pads: the hashed key of each bit; own: its choices, as a number."""
        at = own.astype(np.intp)
        elements = len(at)
        each = np.arange(elements) * (pads[0].shape[1] * 8 // self._type.itemsize)
        full = np.zeros((1 << self.size, elements), self._type)
        full[1:] = self._unpacked(sent)
        share = full.reshape(-1).take(at * elements + np.arange(elements))
        for i, pad in enumerate(pads):
            without = (at >> (i + 1) << i) | (at & ((1 << i) - 1))
            share ^= pad.reshape(-1).view(self._type).take(each + without)
        kept: Few = share & self._ones
        return kept

    @property
    def _ones(self) -> Any:
        return self._type.type((1 << len(self.products)) - 1)

    @cached_property
    def _values(self) -> Few:
        """For each value of the bits, which of the wanted products are 1."""
        values = [
            sum((x & product == product) << at for at, product in enumerate(self.products))
            for x in range(1 << self.size)
        ]
        return np.array(values, self._type)

    def _padded(self, pads: Sequence[tuple[Words, Words]]) -> Few:
        """All pads, (2^k, n)."""
        elements = pads[0][0].shape[0]
        total = np.zeros((1 << self.size, elements), self._type)
        for i, pair in enumerate(pads):
            places = total.reshape(-1, 2, 1 << i, elements)
            for bit, pad in enumerate(pair):
                segments = pad.view(self._type)[:, : 1 << (self.size - 1)].T
                places[:, bit] ^= segments.reshape(-1, 1 << i, elements)
        return total

    def _blank(self, words: Few) -> None:
        words &= self._ones

    def _packed(self, words: Few) -> Few:
        """(2^k - 1, n) -> (n, bytes) uint8: the bits of all of them, side by side."""
        filled = np.zeros((-(-self._bits // WORD), words.shape[1]), np.uint64)
        for word, (at, shift) in zip(words, self._places, strict=True):
            wide = word.astype(np.uint64)
            filled[at] |= wide << np.uint64(shift)
            if shift + len(self.products) > WORD:
                filled[at + 1] |= wide >> np.uint64(WORD - shift)
        raw = np.ascontiguousarray(filled.T).view(np.uint8)
        return raw[:, : self.bytes]

    def _unpacked(self, sent: Few) -> Few:
        """Inverse of `_packed`."""
        raw = np.zeros((sent.shape[0], -(-self._bits // WORD) * 8), np.uint8)
        raw[:, : self.bytes] = sent
        filled = np.ascontiguousarray(raw.view(np.uint64).T)
        words = np.empty(((1 << self.size) - 1, sent.shape[0]), self._type)
        for word, (at, shift) in zip(words, self._places, strict=True):
            wide = filled[at] >> np.uint64(shift)
            if shift + len(self.products) > WORD:
                wide |= filled[at + 1] << np.uint64(WORD - shift)
            word[:] = wide.astype(self._type) & self._ones
        return words

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        width = len(self.products)
        return [divmod(width * j, WORD) for j in range((1 << self.size) - 1)]


@cache
def lookup(size: int, products: tuple[int, ...]) -> Lookup:
    """One for each shape."""
    return Lookup(size, products)


@cache
def several(size: int) -> tuple[int, ...]:
    """All products of two or more of `size` bits."""
    return tuple(product for product in range(1 << size) if product.bit_count() > 1)


@cache
def polynomial(values: tuple[int, ...]) -> tuple[int, ...]:
    """The products whose sum is the function of bits with these values (0 or 1, 2^k of them)."""
    sums = list(values)
    for i in range(len(values).bit_length() - 1):
        for x in range(len(values)):
            if x >> i & 1:
                sums[x] ^= sums[x ^ 1 << i]
    return tuple(product for product, there in enumerate(sums) if there)
