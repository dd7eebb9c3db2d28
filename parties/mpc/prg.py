"""The pseudo-random streams: AES-128-CTR, one key per tuple (docs/protocol.md#keys).

A party draws a fresh 32-byte seed from its operating system for every session and sends it to the
dealer. Each tuple of the session has its own key, HKDF(seed; purpose, session, 0, counter). So no
mask is ever used twice: not by a retry, not by another tuple, not after a restart. The purpose is
the tuple's description. So if two parties disagree about the kind of a tuple, their masks are
unrelated. What is put on top of a result before it leaves has keys of its own (#release).
"""

import math
from collections.abc import Sequence
from typing import Final

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEED_BYTES = 32
KEY_BYTES = 16

# The stream is the encryption of zeros. Nothing was ever written to these, so Linux keeps one page
# of them only, which stays in the cache.
_ZEROS: Final = memoryview(bytes(1 << 18))
# A zero initial counter block is safe: every key encrypts one stream only.
_FROM_ZERO: Final = modes.CTR(bytes(16))


class KeyStream:
    """Uniform ring elements, in order, from one key of KEY_BYTES. Secret; it has no useful repr."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), _FROM_ZERO).encryptor()

    def take(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return the next words of the stream, int64 of `shape`, uniform over all 2^64 values.

        Every call continues where the last one ended, so no word is returned twice.
        """
        words = torch.empty(shape, dtype=torch.int64)
        # Words are little-endian, as in torch.
        raw = words.reshape(-1).view(torch.uint8).numpy().data
        for start in range(0, len(raw), len(_ZEROS)):
            piece = raw[start : start + len(_ZEROS)]
            self._cipher.update_into(_ZEROS[: len(piece)], piece)
        return words

    def take_each(self, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
        """`take` for each of these shapes, in this order. They share one piece of memory."""
        if len(shapes) == 1:
            return [self.take(shapes[0])]
        sizes = list(map(math.prod, shapes))
        parts = self.take((sum(sizes),)).split_with_sizes(sizes)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def mask_key(seed: bytes, *, purpose: str, session: bytes, counter: int) -> bytes:
    """The key of the masks of one tuple or weight. It tells nothing of the seed or other keys."""
    # No part can contain a zero byte, so different parts never give the same text.
    info = b"\0".join(
        (
            b"privedge mask v1",
            purpose.encode(),
            session.hex().encode(),
            # This was once the number of a retry; now every retry has a new session. The literal
            # stays, because without it every mask would change, also those on disk.
            b"0",
            str(counter).encode(),
        )
    )
    return derived_key(seed, salt=None, info=info)


def derived_key(secret: bytes, *, salt: bytes | None, info: bytes) -> bytes:
    """A key of KEY_BYTES: HKDF-SHA256."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(secret)


class MaskStream(KeyStream):
    """The masks of one tuple, or of one weight."""

    def __init__(self, seed: bytes, *, purpose: str, session: bytes, counter: int) -> None:
        super().__init__(mask_key(seed, purpose=purpose, session=session, counter=counter))


class ZeroStream(KeyStream):
    """The sharing of zero on one released result (docs/protocol.md#release)."""

    def __init__(self, nonces: bytes, *, session: bytes, name: str) -> None:
        # A retry is a session of its own, so nothing else has to tell two uses of a name apart.
        info = b"privedge release v1\0" + name.encode()
        super().__init__(derived_key(nonces, salt=session, info=info))
