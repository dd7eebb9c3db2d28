"""What both ends of random oblivious transfers have: choices and hashed keys.

A row is one transfer for each of 64 * W elements; element i * W + w is bit i of word w
(fused/packing.py). The hash of key x is

    H(x, t) = pi(pi(x) ^ t) ^ pi(x)          pi: AES with a fixed key, of this pairing

which is secure for correlated keys if pi is as good as a random permutation (Guo, Katz, Wang and
Yu, IEEE S&P 2020). The tweak t is the transfer's number and a block number, which a row counts
itself: no two calls of one direction have the same tweak. The two directions of a pairing have
names, and so fixed keys, of their own.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from parties.mpc.fused import packing
from privedge.sharing.ring import Words

WORD: Final = 64
# A block of AES is two words.
BLOCK_WORDS: Final = 2


class _Rows:
    """Rows of keys, hashed when they are used. Secret; it has no useful repr."""

    def __init__(self, pairing: bytes, first: int, planes: Words, width: int) -> None:
        """`first`: the number of the first transfer. `planes`: (128, rows * W), bit by bit."""
        self._pairing = pairing
        self._permute = _permutation(pairing)
        self._first = first
        self._planes = planes
        self.width = width
        self.elements = width * WORD
        self.count = planes.shape[1] // width
        self._used = [0] * self.count

    def _raw(self, row: int) -> Words:
        """The keys of one row, (n, 2)."""
        part = self._planes[:, row * self.width : (row + 1) * self.width]
        keys = np.empty((self.elements, BLOCK_WORDS), np.uint64)
        for half in range(BLOCK_WORDS):
            keys[:, half] = transposed(part[half * WORD : (half + 1) * WORD])
        return keys

    def _tweaks(self, row: int, blocks: int) -> list[Words]:
        """The next tweaks of one row, (n, 2) each. They are never returned again."""
        start = self._used[row]
        self._used[row] += blocks
        tweaks = []
        for block in range(start, start + blocks):
            tweak = np.empty((self.elements, BLOCK_WORDS), np.uint64)
            first = self._first + row * self.elements
            tweak[:, 0] = np.arange(first, first + self.elements, dtype=np.uint64)
            tweak[:, 1] = block
            tweaks.append(tweak)
        return tweaks

    def _hashed(self, permuted: Words, tweaks: list[Words]) -> Words:
        blocks = [self._permute(permuted ^ tweak) ^ permuted for tweak in tweaks]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


class Chosen(_Rows):
    """The end that chose: for each row its choices, and the key of each choice."""

    def __init__(
        self, pairing: bytes, first: int, choices: Words, planes: Words, width: int
    ) -> None:
        super().__init__(pairing, first, planes, width)
        self._choices = choices.reshape(-1, width)
        self._kept: dict[int, Words] = {}

    def choice(self, row: int) -> Words:
        """Packed, (W,)."""
        plane: Words = self._choices[row]
        return plane

    def pad(self, row: int, blocks: int = 1) -> Words:
        """The next hashes of the row's keys, (n, 2 * blocks). Each call gives others."""
        if row not in self._kept:
            self._kept[row] = self._permute(self._raw(row))
        return self._hashed(self._kept[row], self._tweaks(row, blocks))


class Pairs(_Rows):
    """The end that has both keys of each transfer: of choice 0 and of choice 1."""

    def __init__(
        self, pairing: bytes, first: int, planes: Words, delta: list[int], width: int
    ) -> None:
        super().__init__(pairing, first, planes, width)
        bits = np.array(delta, np.uint64).reshape(BLOCK_WORDS, WORD)
        shifted = bits << np.arange(WORD, dtype=np.uint64)
        self._delta = np.bitwise_or.reduce(shifted, axis=1)
        self._kept: dict[int, tuple[Words, Words]] = {}

    def pads(self, row: int, blocks: int = 1) -> tuple[Words, Words]:
        """The next hashes of both keys, (n, 2 * blocks) each. Each call gives others."""
        if row not in self._kept:
            keys = self._raw(row)
            self._kept[row] = self._permute(keys), self._permute(keys ^ self._delta)
        tweaks = self._tweaks(row, blocks)
        zero, one = self._kept[row]
        return self._hashed(zero, tweaks), self._hashed(one, tweaks)


def transposed(planes: Words) -> Words:
    """(64, W) -> (64 * W,): bit b of each element from row b. `planes_of` backwards."""
    words = torch.from_numpy(np.ascontiguousarray(planes).reshape(-1).view(np.int64))
    turned: Words = packing.planes(words).reshape(-1).numpy().view(np.uint64)
    return turned


def planes_of(words: Words) -> Words:
    """(64 * W,) -> (64, W): row b has bit b of each element."""
    rows: Words = packing.planes(torch.from_numpy(words.view(np.int64))).numpy().view(np.uint64)
    return rows


def bits_of(plane: Words) -> Words:
    """(W,) -> (64 * W,) of 0 or 1."""
    places = np.arange(WORD, dtype=np.uint64)[:, None]
    return ((plane >> places) & np.uint64(1)).reshape(-1)


def _permutation(pairing: bytes) -> Callable[[Words], Words]:
    """AES under a public key that the name of the pairing gives, on blocks of two words."""
    key = hashlib.sha256(b"privedge transfers hash v1" + pairing).digest()[:16]
    cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - a permutation

    def permute(blocks: Words) -> Words:
        # `update_into` wants room for one block more.
        raw = np.empty(blocks.nbytes + 16, np.uint8)
        cipher.update_into(np.ascontiguousarray(blocks).reshape(-1).view(np.uint8).data, raw.data)
        result: Words = raw[: blocks.nbytes].view(np.uint64).reshape(blocks.shape)
        return result

    return permute
