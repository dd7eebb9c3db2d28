"""Oblivious transfer on the curve edwards25519: the chooser gets one of two keys, its own choice.

The protocol of Chou and Orlandi (LATINCRYPT 2015) for random keys. G is the base point.

    sender     a random                        A = a G                                    ->
    chooser    b_i random                      B_i = b_i G + c_i A                        <-
    sender     keys H(i, A, B_i, a B_i) and H(i, A, B_i, a (B_i - A))
    chooser    key H(i, A, B_i, b_i A), which is the one number c_i

B_i is uniform whatever c_i is. Without a the chooser cannot have both keys, if computational
Diffie-Hellman is hard and H is a random oracle. Points that are not of the group's prime order are
refused.
"""

import hashlib
import os
from collections.abc import Sequence

from nacl import bindings

from privedge.errors import TranscriptMismatch

POINT_BYTES = 32
KEY_BYTES = 16
_SEED_BYTES = 64


class Sender:
    """Has two keys for each transfer. Secret; it has no useful repr.

    pairing: what names this connection of the two parties; part of every key.
    """

    def __init__(self, pairing: bytes) -> None:
        self._pairing = pairing
        self._secret = _scalar()
        self.point = bindings.crypto_scalarmult_ed25519_base_noclamp(self._secret)

    def keys(self, points: bytes) -> list[tuple[bytes, bytes]]:
        """The two keys of each transfer, from the chooser's `points`.

        Raises TranscriptMismatch for what is no point of the group.
        """
        return [self._pair(at, point) for at, point in enumerate(_split(points))]

    def _pair(self, at: int, point: bytes) -> tuple[bytes, bytes]:
        shifted = bindings.crypto_core_ed25519_sub(point, self.point)
        return (self._key(at, point, point), self._key(at, point, shifted))

    def _key(self, at: int, point: bytes, base: bytes) -> bytes:
        shared = bindings.crypto_scalarmult_ed25519_noclamp(self._secret, base)
        return _hashed(self._pairing, at, self.point, point, shared)


class Chooser:
    """Has one key of each transfer, that of its choice. Secret; it has no useful repr."""

    def __init__(self, pairing: bytes, point: bytes, choices: Sequence[int]) -> None:
        """`point`: the sender's. `choices`: 0 or 1 for each transfer.

        Raises TranscriptMismatch for what is no point of the group.
        """
        self._pairing = pairing
        self._theirs = _checked(point)
        self._secrets = [_scalar() for _ in choices]
        self._points = [
            self._point(secret, choice)
            for secret, choice in zip(self._secrets, choices, strict=True)
        ]
        self.points = b"".join(self._points)

    def keys(self) -> list[bytes]:
        """The chosen key of each transfer."""
        return [
            _hashed(
                self._pairing,
                at,
                self._theirs,
                point,
                bindings.crypto_scalarmult_ed25519_noclamp(secret, self._theirs),
            )
            for at, (secret, point) in enumerate(zip(self._secrets, self._points, strict=True))
        ]

    def _point(self, secret: bytes, choice: int) -> bytes:
        # Both are computed, so that the time does not depend on the choice.
        plain = bindings.crypto_scalarmult_ed25519_base_noclamp(secret)
        return (plain, bindings.crypto_core_ed25519_add(plain, self._theirs))[choice]


def _scalar() -> bytes:
    # 512 bits modulo the order: uniform but for 2^-259.
    return bindings.crypto_core_ed25519_scalar_reduce(os.urandom(_SEED_BYTES))


def _split(points: bytes) -> list[bytes]:
    if len(points) % POINT_BYTES:
        raise TranscriptMismatch("base transfers: the other party's points are cut off")
    return [_checked(points[at : at + POINT_BYTES]) for at in range(0, len(points), POINT_BYTES)]


def _checked(point: bytes) -> bytes:
    if len(point) != POINT_BYTES or not bindings.crypto_core_ed25519_is_valid_point(point):
        raise TranscriptMismatch("base transfers: the other party sent no point of the group")
    return point


def _hashed(pairing: bytes, at: int, mine: bytes, theirs: bytes, shared: bytes) -> bytes:
    # All parts but the first have a fixed length, and that one has its length before it.
    text = b"".join(
        (
            b"privedge base transfer v1",
            len(pairing).to_bytes(8, "little"),
            pairing,
            at.to_bytes(8, "little"),
            mine,
            theirs,
            shared,
        )
    )
    return hashlib.sha256(text).digest()[:KEY_BYTES]
