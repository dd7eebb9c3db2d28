"""The manifest of a shared model: ids, names, shapes and a commitment to each share.

Both parties receive the same manifest, each with its own share. They compare manifest digests
before a model becomes active, so no computation ever starts on shares that do not fit.

A commitment is SHA-256(salt || name || 0x00 || the share's words). Both parties see the manifest,
but each gets only its own salt. A plain digest of [x]_1 would let party 0, which has [x]_0, test
any guess of x: it would compare the digest of x - [x]_0.
"""

import hashlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from typing import Any

from privedge.sharing.ring import RING_BITS, width

SALT_BYTES = 32


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: its name, its shape, and the commitments (hex) to party 0's and party 1's share.

    Each commitment has a salt of its own, because both parties see both commitments. `word_bits` is
    the width of the words, which are shared modulo 2^word_bits.
    """

    name: str
    shape: tuple[int, ...]
    commitments: tuple[str, str]
    word_bits: int = RING_BITS

    @property
    def words(self) -> int:
        """The number of ring elements in the tensor."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def share_bytes(self) -> int:
        """The size of one share of the tensor, in bytes, on the wire and on disk."""
        return width(self.word_bits) * self.words

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for a manifest's text, which says nothing of 64 bits."""
        fields = asdict(self)
        if self.word_bits == RING_BITS:
            del fields["word_bits"]
        return fields


@dataclass(frozen=True)
class ModelManifest:
    """One upload. `model_id` is fresh for each upload and never used again.

    Snapshots depend on it, and with them the masks of weights (docs/protocol.md#sessions).
    """

    model_id: str
    cohort: str
    owner: str
    spec_digest: str
    tensors: tuple[TensorEntry, ...]

    @property
    def share_bytes(self) -> int:
        """The size of one share file, in bytes: all tensors in order, with nothing between them."""
        return sum(entry.share_bytes for entry in self.tensors)

    def bits_of(self, tensor: str) -> int:
        """How many bits a word of that tensor has."""
        return next(entry.word_bits for entry in self.tensors if entry.name == tensor)

    def commitments_of(self, party: int) -> tuple[str, ...]:
        """The commitments (hex) to one party's share as it was uploaded, tensor by tensor."""
        return tuple(entry.commitments[party] for entry in self.tensors)

    def to_json(self) -> str:
        """Return the canonical text, which `digest` covers: sorted keys, no spaces."""
        fields = {**vars(self), "tensors": [entry.to_dict() for entry in self.tensors]}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "ModelManifest":
        """Parse a `to_json` text that this process wrote itself (in the registry)."""
        fields = json.loads(text)
        tensors = tuple(
            TensorEntry(
                t["name"],
                tuple(t["shape"]),
                (t["commitments"][0], t["commitments"][1]),
                t.get("word_bits", RING_BITS),
            )
            for t in fields.pop("tensors")
        )
        return ModelManifest(tensors=tensors, **fields)

    def digest(self) -> str:
        """Return the SHA-256 (hex) of the canonical text."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True)
class UploadHeader:
    """What one party receives before its share: the manifest, and the salt of its own commitments.

    The salt is secret from the other party.
    """

    manifest: ModelManifest
    salt: bytes = field(repr=False)


def commitment(salt: bytes, name: str) -> "hashlib._Hash":
    """Start the commitment to one party's share of tensor `name`; update it with the wire form.

    `salt` is that party's own, SALT_BYTES long. The salt has a fixed length and no name has a zero
    byte, so no two tensors hash the same input.
    """
    return hashlib.sha256(salt + name.encode() + b"\0")


def new_salt() -> bytes:
    """Draw SALT_BYTES fresh random bytes: one party's salt for one upload."""
    return os.urandom(SALT_BYTES)


def new_model_id() -> str:
    """Draw a fresh 128-bit id, as 32 hexadecimal digits."""
    return secrets.token_hex(16)
