"""W * B for a fixed W that one party has and a fresh B of the other: weights encrypted once.

For a dense layer whose input all owners share. K has a share W of the weights, (rows, columns), all
owners' rows; F has a share B of the input's mask. Both get shares of W * B modulo 2^64 (docs/adr/
0047). Column j of up to 8192 rows is one polynomial m_j, and s is the secret of that block of rows:

    once      K   b_j = a_j s + e_j + 2^152 m_j,  b_pk = a_pk s + e                          ->
                  a_j and a_pk are public: streams of a nonce, the same for all blocks
    a bundle  F   v ternary, fresh
                  a'' = sum of B_j a_j + a_pk v + e'
                  b'' = sum of B_j b_j + b_pk v + R      R uniform modulo q                  <-
                  keeps -floor(R / 2^152)
              K   keeps floor((b'' - a'' s) / 2^152)

What K gets: a'' is a sample of ring LWE in v, which nobody else has, and b'' is uniform by R. What
F gets: samples in s. No (secret, a) comes twice: secrets are fresh for each block and each bundle,
and a_j and a_pk differ. Two samples of one pair would show the difference of what they hide.

The sum is off by one unit if R modulo 2^152 is within the noise of an end. With B_j signed, the
noise is at most columns * 2^63 * 21 + 2 * 8192 * 21, below 2^81 for 8,192 columns, which gives
2^-70. b'' is sent without its low 108 bits, which adds 2^-44. None of that depends on W or B.

The sums are made in float64, of products of whole numbers: 16 bits of B, 27 bits of a digit and at
most TERMS terms stay below 2^53, so all are exact, in any order.
"""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from parties.mpc.prg import KEY_BYTES, KeyStream
from parties.mpc.twoparty import ring
from privedge.errors import LimitExceeded, TranscriptMismatch
from privedge.sharing.ring import Words

# For which the sums below are not too noisy.
MOST_COLUMNS = 1 << 13
# Terms that are added in float64.
TERMS = 1 << 10
# Of b'' only these digits are sent: its high 108 bits.
SENT = 4
_SCALAR_BITS = 16
_SCALARS = 64 // _SCALAR_BITS
# What is combined at once, so that it stays small as float64.
_TILE = 2048
_PUBLIC_KEY = -1

_Digits = npt.NDArray[np.int32]


class KeyHolder:
    """K, for one weight. Its secrets have no useful repr.

    rows   of the weight, all owners' one after the other
    """

    def __init__(self, weight: Words, nonce: bytes) -> None:
        """`weight`: this party's share, uint64 (rows, columns). `nonce`: fresh, from both parties.

        Raises LimitExceeded for too many columns.
        """
        self.rows, self._columns = weight.shape
        _check_columns(self._columns)
        self._weight = weight
        self._nonce = nonce
        self._stream = ring.fresh()
        self._secrets = [
            ring.transformed(ring.ternary(self._stream)) for _ in range(blocks(self.rows))
        ]

    @staticmethod
    def memory(rows: int) -> int:
        """Bytes that are kept for as long as the weight is, beside the weight."""
        return blocks(rows) * ring.DEGREE * 8

    def messages(self) -> Iterator[bytes]:
        """What is sent once: the public key, then column after column."""
        for column in range(_PUBLIC_KEY, self._columns):
            a = ring.transformed(ring.centred(public(self._nonce, column)))
            yield b"".join(self._hidden(a, column, block) for block in range(len(self._secrets)))

    def share(self, reply: bytes) -> Words:
        """K's share of W * B, (rows,), from one reply. Raises TranscriptMismatch."""
        size = ring.DEGREE * ring.coefficient_bytes(ring.LIMBS)
        if len(reply) != reply_bytes(self.rows):
            raise TranscriptMismatch("encrypted weights: a reply of the wrong length")
        a = ring.transformed(ring.centred(ring.from_bytes(reply[:size], ring.LIMBS)))
        b = ring.from_bytes(reply[size:], SENT)
        parts = []
        for block, secret in enumerate(self._secrets):
            own = b[:, block * ring.DEGREE : (block + 1) * ring.DEGREE]
            product = ring.carried(ring.multiplied(a, secret))[:, : own.shape[1]]
            # The low digits of b'' are not here: the borrow from them is left out.
            parts.append(ring.unscaled(ring.carried(own - product[-SENT:])))
        share: Words = np.concatenate(parts)
        return share

    def _hidden(self, a: ring.Transform, column: int, block: int) -> bytes:
        first = block * ring.DEGREE
        rows = min(self.rows - first, ring.DEGREE)
        hidden = sample(a, self._secrets[block], self._stream)
        if column == _PUBLIC_KEY:
            return ring.to_bytes(ring.carried(hidden))
        hidden = hidden[:, :rows]
        hidden += ring.scaled(np.ascontiguousarray(self._weight[first : first + rows, column]))
        return ring.to_bytes(ring.carried(hidden))


class Evaluator:
    """F, for one weight of the other party."""

    def __init__(self, rows: int, columns: int, nonce: bytes) -> None:
        """Raises LimitExceeded for too many columns."""
        _check_columns(columns)
        self.rows, self.columns = rows, columns
        self._nonce = nonce
        self._keys: list[ring.Transform] = []
        # The a_j and b_j side by side: (LIMBS, columns, DEGREE + rows).
        self._kept = np.empty((ring.LIMBS, columns, ring.DEGREE + rows), np.int32)
        self._next = _PUBLIC_KEY

    @staticmethod
    def memory(rows: int, columns: int) -> int:
        """Bytes that are kept for as long as the weight is."""
        keys = (1 + blocks(rows)) * ring.LIMBS * ring.DEGREE * 8
        return ring.LIMBS * columns * (ring.DEGREE + rows) * 4 + keys

    def take(self, message: bytes) -> None:
        """The next of KeyHolder.messages. Raises TranscriptMismatch."""
        key = self._next == _PUBLIC_KEY
        count = blocks(self.rows) * ring.DEGREE if key else self.rows
        if self._next == self.columns or len(message) != count * ring.coefficient_bytes(ring.LIMBS):
            raise TranscriptMismatch("encrypted weights: a message of the wrong length")
        a, b = public(self._nonce, self._next), ring.from_bytes(message, ring.LIMBS)
        if key:
            pieces = np.split(b, blocks(self.rows), axis=1)
            self._keys = [ring.transformed(ring.centred(each)) for each in (a, *pieces)]
        else:
            self._kept[:, self._next, : ring.DEGREE] = a
            self._kept[:, self._next, ring.DEGREE :] = b
        self._next += 1

    def replies(self, masks: Words) -> tuple[list[bytes], list[Words]]:
        """A reply for each of `masks`, uint64 (Q, columns), and F's shares of W * B, (rows,) each.

        Many at once need less time each: what is kept is read once. Raises TranscriptMismatch
        before all of KeyHolder.messages are there.
        """
        if self._next != self.columns:
            raise TranscriptMismatch("encrypted weights: not all of them are here")
        sums = self._combined(masks)
        replies, shares = [], []
        for of_mask in np.moveaxis(sums, 1, 0):
            stream = ring.fresh()
            # 1. Enc(0) under the key, with a secret of this reply alone: a'' is like random.
            v = ring.transformed(ring.ternary(stream))
            a = of_mask[:, : ring.DEGREE] + sample(self._keys[0], v, stream)
            b = of_mask[:, ring.DEGREE :]
            for block, key in enumerate(self._keys[1:]):
                own = b[:, block * ring.DEGREE : (block + 1) * ring.DEGREE]
                own += ring.multiplied(key, v)[:, : own.shape[1]]
            # 2. R is uniform modulo all of q, and so is b''.
            mask = ring.uniform(stream, self.rows)
            sent = ring.carried(b + mask)[-SENT:]
            replies.append(ring.to_bytes(ring.carried(a)) + ring.to_bytes(sent))
            shares.append(np.uint64(0) - ring.unscaled(mask))
        return replies, shares

    def _combined(self, masks: Words) -> ring.Poly:
        """The sum of B_j times column j for each of the masks, (LIMBS, Q, DEGREE + rows)."""
        width = self._kept.shape[2]
        sums = np.zeros((ring.LIMBS, len(masks), width), np.int64)
        for start in range(0, width, _TILE):
            tile = slice(start, start + _TILE)
            add_combined(sums[:, :, tile], masks, self._kept[:, :, tile])
        return sums


def add_combined(sums: ring.Poly, words: Words, digits: npt.NDArray[Any]) -> None:
    """Add sums of words (Q, T) times rows of digits (n, T, P) to sums (LIMBS, Q, P). The digits are
    the highest n of LIMBS, at most 2^27 in size.
    """
    count, terms = words.shape
    for start in range(0, terms, TERMS):
        some = slice(start, start + TERMS)
        signed = ring.signed_digits(words[:, some], _SCALAR_BITS)
        scalars = signed.reshape(_SCALARS * count, -1).astype(np.float64)
        for at, digit in enumerate(digits, ring.LIMBS - len(digits)):
            products = (scalars @ digit[some].astype(np.float64)).astype(np.int64)
            for place, product in enumerate(products.reshape(_SCALARS, count, -1)):
                ring.add_shifted(sums, ring.LIMB_BITS * at + _SCALAR_BITS * place, product)


def sample(a: ring.Transform, secret: ring.Transform, stream: KeyStream) -> ring.Poly:
    """a * secret + e with a fresh error; digits are not carried. Never twice for one pair."""
    hidden = ring.multiplied(a, secret)
    hidden[0] += ring.error(stream, ring.DEGREE)
    return hidden


def public(nonce: bytes, column: int) -> ring.Poly:
    """a of a column, or of the public key for -1: the same at both parties."""
    text = b"privedge a v1" + len(nonce).to_bytes(8, "little") + nonce
    key = hashlib.sha256(text + (column + 1).to_bytes(8, "little")).digest()[:KEY_BYTES]
    return ring.uniform(KeyStream(key), ring.DEGREE)


def blocks(rows: int) -> int:
    """How many polynomials hold a column."""
    return -(-rows // ring.DEGREE)


def reply_bytes(rows: int) -> int:
    """The size of a reply."""
    return ring.DEGREE * ring.coefficient_bytes(ring.LIMBS) + rows * ring.coefficient_bytes(SENT)


def _check_columns(columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise LimitExceeded(f"encrypted weights: at most {MOST_COLUMNS} inputs a layer")
