"""Seal 32 secret bytes (a data key, a salt) under the newest key of a ring, for one purpose.

    sealed = id of the key (8) | random (32) | AES-256-GCM of the secret (32 + 16)

The key of each AES-GCM is HKDF-SHA256(ring's key; salt = random, info = purpose). It encrypts one
message only, so the nonce can be zero, and the ring's key never meets a nonce at all. The purpose
is associated data too: what was sealed for one purpose opens for no other.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from parties.at_rest.key_ring import ID_BYTES, KEY_BYTES, Key, KeyRing
from privedge.errors import DigestMismatch

SECRET_BYTES = 32
_RANDOM_BYTES = 32
_TAG_BYTES = 16
SEALED_BYTES = ID_BYTES + _RANDOM_BYTES + SECRET_BYTES + _TAG_BYTES
_NONCE = bytes(12)


def seal(ring: KeyRing, secret: bytes, purpose: bytes) -> bytes:
    """Encrypt `secret` (SECRET_BYTES) for `purpose`, with the newest key; returns SEALED_BYTES."""
    key, random = ring.current, os.urandom(_RANDOM_BYTES)
    cipher = _cipher(key, random, purpose)
    return bytes.fromhex(key.id) + random + cipher.encrypt(_NONCE, secret, purpose)


def unseal(ring: KeyRing, sealed: bytes, purpose: bytes) -> bytes:
    """Inverse of `seal`.

    Raises DigestMismatch if the ring lacks the key, or if the bytes were changed or sealed for
    another purpose.
    """
    key = ring.get(key_id(sealed))
    if key is None:
        raise DigestMismatch(f"encrypted with key {key_id(sealed)}, which key_file does not hold")
    random = sealed[ID_BYTES : ID_BYTES + _RANDOM_BYTES]
    try:
        return _cipher(key, random, purpose).decrypt(
            _NONCE, sealed[ID_BYTES + _RANDOM_BYTES :], purpose
        )
    except InvalidTag:
        raise DigestMismatch("its key cannot be decrypted, or belongs elsewhere") from None


def key_id(sealed: bytes) -> str:
    """The id of the key that something was sealed with, in hexadecimal."""
    return sealed[:ID_BYTES].hex()


def _cipher(key: Key, random: bytes, purpose: bytes) -> AESGCM:
    derive = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=random, info=purpose)
    return AESGCM(derive.derive(key.secret))
