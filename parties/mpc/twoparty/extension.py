"""Any number of random oblivious transfers from 128 base ones: SoftSpoken with 16 leaves a tree.

Lawrence Roy, SoftSpokenOT (CRYPTO 2022), with the repetition code. For each of BLOCKS trees, with
r_x the stream of leaf x, which the sender of the transfers has but for x = d:

    receiver   u = sum of all r_x,  v_i = sum of r_x with bit i of x set       choices: u of block 0
               c = u + (u of block 0), for all other blocks                                     ->
    sender     q_i = sum of r_x with bit i of x and d unlike, + d_i c

Then q_i = v_i + d_i (choice): for each transfer 128 bits q and v with q = v + choice * Delta, and
Delta is all the d. Hashed, v is the key of the choice; q and q + Delta are the two keys (keys.py).
31 bits a transfer are sent.

Check. A receiver whose c is not that of one choice could learn bits of Delta from what comes later.
Both compute a universal hash of each row, a polynomial over GF(2^128) at a point that is drawn only
when c is fixed. The paper lets the sender draw it; here it is the hash of all that was said in this
direction, base transfers and trees included (Fiat and Shamir, CRYPTO 1986). Without the trees, a
receiver could plant them when it knows the point: two rows of equal hashes take 2^64 trees, by
their birthdays. With them each attempt has a point of its own, and passes with a probability of a
row's length in blocks times 2^-128. The hash is linear, so the sender compares hash(q_i) with
hash(v_i) + d_i hash(choice). Two words at the start of each row, 128 transfers that are used for
nothing else, hide what the hashes would tell of v and of the choices. One who cheats and passes has
guessed the bits of Delta that it would learn (section 4 there).
"""

import hashlib
import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from parties.mpc.prg import KeyStream
from parties.mpc.twoparty import base_ot, punctured
from parties.mpc.twoparty.keys import Chosen, Pairs
from privedge.errors import TranscriptMismatch
from privedge.sharing.ring import WORD_BYTES, Words

BLOCKS = 128 // punctured.DEPTH
# What hides the hashes: 128 transfers.
_MASK_WORDS = 2
_HASH_WORDS = 2
# A pairing makes new base transfers after so many.
MOST = 1 << 40
_WORD = 64


class Planting:
    """Base transfers at the end that will receive: it plants the trees.

    point     to be sent first, then `planted` of what comes back
    """

    def __init__(self, pairing: bytes) -> None:
        self._pairing = pairing
        self._base = base_ot.Sender(pairing)
        self.point = self._base.point

    def planted(self, points: bytes) -> tuple[bytes, "Receiver"]:
        """What completes the sender's end, and this end. Raises TranscriptMismatch."""
        keys = self._base.keys(points)
        if len(keys) != BLOCKS * punctured.DEPTH:
            raise TranscriptMismatch(f"base transfers: {len(keys)} points")
        messages, leaves = [], []
        for block in range(BLOCKS):
            at = block * punctured.DEPTH
            root = os.urandom(base_ot.KEY_BYTES)
            message, seeds = punctured.planted(root, keys[at : at + punctured.DEPTH])
            messages.append(message)
            leaves.append(seeds)
        whole = b"".join(messages)
        said = _transcript(self._pairing, self.point, points, whole)
        return whole, Receiver(self._pairing, leaves, said)


class Picking:
    """Base transfers at the end that will send. `points` are to be sent, in answer to `point`."""

    def __init__(self, pairing: bytes, point: bytes) -> None:
        self._pairing = pairing
        random = int.from_bytes(os.urandom(BLOCKS * punctured.DEPTH // 8))
        self._choices = [random >> at & 1 for at in range(BLOCKS * punctured.DEPTH)]
        self._base = base_ot.Chooser(pairing, point, self._choices)
        self._point, self.points = point, self._base.points

    def picked(self, message: bytes) -> "Sender":
        """The sender's end. Raises TranscriptMismatch."""
        size = punctured.MESSAGE_BYTES
        if len(message) != BLOCKS * size:
            raise TranscriptMismatch("base transfers: a message of the wrong length")
        keys = self._base.keys()
        missing, leaves = [], []
        for block in range(BLOCKS):
            part = slice(block * punctured.DEPTH, (block + 1) * punctured.DEPTH)
            own = message[block * size : (block + 1) * size]
            place, seeds = punctured.picked(own, self._choices[part], keys[part])
            missing.append(place)
            leaves.append(seeds)
        said = _transcript(self._pairing, self._point, self.points, message)
        return Sender(self._pairing, missing, leaves, said)


class _End:
    """What both ends do: count transfers, and draw the point of each call's check."""

    def __init__(self, pairing: bytes, said: bytes) -> None:
        self._pairing = pairing
        self._count = 0
        # SHA-256 of what was said until now.
        self._said = said

    def _reserve(self, rows: int, width: int) -> int:
        """The number of the first of so many transfers. Counted before any is made: no number is
        ever used twice, whatever becomes of the call.
        """
        first = self._count
        self._count += rows * width * _WORD
        if self._count > MOST:
            raise TranscriptMismatch("transfers: this pairing has made all it may")
        return first

    def _point_of(self, sizes: tuple[int, int, int], corrections: bytes) -> bytes:
        """The key of the hash of a call. sizes: its first transfer, rows and width."""
        text = hashlib.sha256(b"privedge transfers check v2" + self._said)
        text.update(b"".join(size.to_bytes(8, "little") for size in sizes) + corrections)
        self._said = text.digest()
        return hashlib.sha256(b"privedge transfers point v1" + self._said).digest()[
            : base_ot.KEY_BYTES
        ]


class Receiver(_End):
    """The end that chooses. Secret; it has no useful repr."""

    def __init__(self, pairing: bytes, leaves: list[list[bytes]], said: bytes) -> None:
        """`said`: SHA-256 of what was said until now."""
        super().__init__(pairing, said)
        self._streams = [[KeyStream(seed) for seed in seeds] for seeds in leaves]

    def extend(self, rows: int, width: int) -> tuple[bytes, Chosen]:
        """The message and this end of `rows` rows of 64 * `width` transfers."""
        first = self._reserve(rows, width)
        u, v = self._expanded(rows * width + _MASK_WORDS)
        corrections = (u[1:] ^ u[0]).tobytes()
        key = self._point_of((first, rows, width), corrections)
        check = _hashed(key, [u[0], *v])
        choices, used = u[0, _MASK_WORDS:], v[:, _MASK_WORDS:]
        return corrections + check, Chosen(self._pairing, first, choices, used, width)

    def _expanded(self, words: int) -> tuple[Words, Words]:
        """u (BLOCKS, words) and v (128, words)."""
        v = np.empty((BLOCKS * punctured.DEPTH, words), np.uint64)
        u = np.empty((BLOCKS, words), np.uint64)
        for block, streams in enumerate(self._streams):
            leaves = np.stack([_taken(stream, words) for stream in streams])
            u[block] = _folded(leaves, v[block * punctured.DEPTH :])
        return u, v


class Sender(_End):
    """The end that has both keys. Secret; it has no useful repr."""

    def __init__(
        self, pairing: bytes, missing: list[int], leaves: list[list[bytes | None]], said: bytes
    ) -> None:
        """`said`: SHA-256 of what was said until now."""
        super().__init__(pairing, said)
        self._missing = missing
        self._streams = [
            [KeyStream(seed) if seed is not None else None for seed in seeds] for seeds in leaves
        ]
        self._delta = [place >> bit & 1 for place in missing for bit in range(punctured.DEPTH)]

    def extend(self, rows: int, width: int, message: bytes) -> Pairs:
        """This end of `rows` rows of 64 * `width` transfers, from the receiver's message.

        Raises TranscriptMismatch if the message is not that of an honest receiver; then this end
        must not be used any more.
        """
        first = self._reserve(rows, width)
        words = rows * width + _MASK_WORDS
        size = (BLOCKS - 1) * words * WORD_BYTES
        if len(message) != size + message_extra():
            raise TranscriptMismatch("transfers: a message of the wrong length")
        corrections = np.frombuffer(message[:size], np.uint64).reshape(BLOCKS - 1, words)
        q = np.empty((BLOCKS * punctured.DEPTH, words), np.uint64)
        for block in range(BLOCKS):
            self._block(block, q[block * punctured.DEPTH :][: punctured.DEPTH])
            if block:
                self._correct(block, q, corrections[block - 1])
        key = self._point_of((first, rows, width), message[:size])
        self._check(key, q, message[size:])
        return Pairs(self._pairing, first, q[:, _MASK_WORDS:], self._delta, width)

    def _block(self, block: int, q: Words) -> None:
        leaves = np.zeros((punctured.LEAVES, q.shape[1]), np.uint64)
        missing = self._missing[block]
        for place, stream in enumerate(self._streams[block]):
            # At place x ^ d, so that bit i of it says whether bit i of x and d are unlike.
            if stream is not None:
                leaves[place ^ missing] = _taken(stream, q.shape[1])
        _folded(leaves, q)

    def _correct(self, block: int, q: Words, correction: Words) -> None:
        for row in range(block * punctured.DEPTH, (block + 1) * punctured.DEPTH):
            if self._delta[row]:
                q[row] ^= correction

    def _check(self, key: bytes, q: Words, hashes: bytes) -> None:
        told = np.frombuffer(hashes, np.uint64).reshape(-1, _HASH_WORDS)
        delta = np.array(self._delta, np.uint64)[:, None]
        expected: Words = told[1:] ^ (told[0] * delta)
        if _hashed(key, list(q)) != expected.tobytes():
            raise TranscriptMismatch("transfers: the other party's message failed its check")


def message_bytes(rows: int, width: int) -> int:
    """The size of the receiver's message."""
    return (BLOCKS - 1) * (rows * width + _MASK_WORDS) * WORD_BYTES + message_extra()


def message_extra() -> int:
    """The size of the hashes: of the choices, and of each row."""
    return (1 + BLOCKS * punctured.DEPTH) * _HASH_WORDS * WORD_BYTES


def _transcript(*parts: bytes) -> bytes:
    """SHA-256 of a pairing and its base transfers."""
    text = hashlib.sha256(b"privedge transfers said v1")
    for part in parts:
        text.update(len(part).to_bytes(8, "little") + part)
    return text.digest()


def _taken(stream: KeyStream, words: int) -> Words:
    taken: Words = stream.take((words,)).numpy().view(np.uint64)
    return taken


def _folded(leaves: Words, into: Words) -> Words:
    """The sum of all leaves (16, X), which are lost; and in `into` (4, X) the sums of those whose
    place has bit i set.
    """
    for bit in reversed(range(punctured.DEPTH)):
        half = 1 << bit
        upper = leaves[half : 2 * half]
        np.bitwise_xor.reduce(upper, axis=0, out=into[bit])
        leaves[:half] ^= upper
    total: Words = leaves[0]
    return total


def _hashed(key: bytes, rows: list[Words]) -> bytes:
    """A hash of each row (X,), linear over bits: GHASH, from AES-GCM, less what zeros give.

    The tag of AES-GCM is a polynomial in the data over GF(2^128), at a point that follows from the
    key, plus a constant. Key and nonce are public here, and nothing is encrypted.
    """
    zeros = np.frombuffer(_tag(key, bytes(rows[0].nbytes)), np.uint64)
    tags = np.frombuffer(b"".join(_tag(key, row.tobytes()) for row in rows), np.uint64)
    return (tags.reshape(-1, _HASH_WORDS) ^ zeros).tobytes()


def _tag(key: bytes, data: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.GCM(bytes(12))).encryptor()
    cipher.authenticate_additional_data(data)
    cipher.finalize()
    return cipher.tag
