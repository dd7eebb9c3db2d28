"""A fresh sharing of zero from one seed: what a refresh adds to party 0's share of a model and
subtracts from party 1's (docs/adr/0020-shares-at-rest.md).

    key of a tensor = HKDF-SHA256(seed; model, manifest, old version, new version, tensor)
    r = AES-256-CTR of zeros under that key, as words as wide as those of the share

Sees the seed. Anyone who has it can undo the refresh, so it is never on a disk or in a log.
"""

import hashlib
import os
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privedge.sharing.ring import WORD_BYTES, from_bytes, wire_view

SEED_BYTES = 32
_KEY_BYTES = 32
_VERSION_DIGITS = 32
# A zero initial counter block is safe: every key encrypts one stream only.
_FROM_ZERO = modes.CTR(bytes(16))


def new_seed() -> bytes:
    """256 bits from the operating system."""
    return os.urandom(SEED_BYTES)


@dataclass(frozen=True)
class ZeroSharing:
    """One refresh of one model; both parties build the same. `before`: the share's old version."""

    seed: bytes = field(repr=False)
    model_id: str
    manifest_digest: str
    before: str = ""

    @property
    def version(self) -> str:
        """The new version, 128 bits in hexadecimal. It tells nothing of the seed."""
        text = self._purpose("version")
        return hashlib.sha256(text + b"\0" + self.seed).hexdigest()[:_VERSION_DIGITS]

    def stream(self, party: int, tensor: str, width: int = WORD_BYTES) -> "TensorMask":
        """What refreshes one party's share of one tensor, whose words have `width` bytes."""
        purpose = self._purpose(f"{self.version}\0{tensor}")
        derive = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose)
        return TensorMask(derive.derive(self.seed), subtract=party == 1, width=width)

    def _purpose(self, what: str) -> bytes:
        """No part can contain a zero byte but `what`, which comes last."""
        parts = ("privedge refresh v1", self.model_id, self.manifest_digest, self.before, what)
        return "\0".join(parts).encode()


class TensorMask:
    """The words of r for one tensor, in order, each used once."""

    def __init__(self, key: bytes, *, subtract: bool, width: int = WORD_BYTES) -> None:
        self._cipher = Cipher(algorithms.AES(key), _FROM_ZERO).encryptor()
        self._subtract = subtract
        self._width = width
        # The beginning of a word whose end has not come yet.
        self._begun = b""

    def refreshed(self, part: bytes | memoryview) -> memoryview:
        """The next words of the share, refreshed, in the form of the wire. What begins in this part
        and ends in the next one comes with that.
        """
        raw = self._begun + bytes(part) if self._begun else part
        count = len(raw) // self._width
        end = count * self._width
        self._begun = bytes(raw[end:])
        words = from_bytes(raw[:end], (count,), 8 * self._width)
        mask = from_bytes(self._cipher.update(bytes(end)), (count,), 8 * self._width)
        # Modulo 2^(8 width): that is a sharing modulo every smaller power of two as well.
        after = words - mask if self._subtract else words + mask
        return wire_view(after, 8 * self._width)
