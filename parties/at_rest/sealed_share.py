"""An encrypted share file: a header, then the words of each tensor in chunks.

    header    magic (8) | data key, sealed under the ring (envelope.py)
    chunk     AES-256-GCM under the data key of at most CHUNK_BYTES of one tensor, and its tag (16)

The data key is drawn for one file and encrypts nothing else; the nonce is (tensor, chunk) as two
numbers. Associated data of a chunk: party, cohort, model, version of the share, tensor, number of
the chunk, and how many the tensor has. So no chunk, tensor or file can take another one's place.
A new key of the ring changes the header alone, in place: it is shorter than a disk's sector.

Sees one additive share of a model, a chunk at a time. docs/adr/0020-shares-at-rest.md.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parties.at_rest import envelope
from parties.at_rest.key_ring import KEY_BYTES, KeyRing
from privedge.errors import DigestMismatch
from privedge.sharing.manifest import ModelManifest, TensorEntry

MAGIC = b"PESHARE1"
HEADER_BYTES = len(MAGIC) + envelope.SEALED_BYTES
CHUNK_BYTES = 1 << 20
TAG_BYTES = 16
_NONCE = struct.Struct(">IQ")
# A reader may see a header in the middle of a rotation's write.
_TRIES = 3


@dataclass(frozen=True)
class Label:
    """What a secret of one model belongs to. `version` is empty until a share is refreshed."""

    party: int
    cohort: str
    model_id: str
    version: str = ""

    @staticmethod
    def of(party: int, manifest: ModelManifest, version: str = "") -> "Label":
        """The label of an upload's share."""
        return Label(party, manifest.cohort, manifest.model_id, version)

    def purpose(self, what: str) -> bytes:
        """Associated data; no part can contain a zero byte."""
        parts = ("privedge at rest v1", what, str(self.party), self.cohort, self.model_id)
        return "\0".join((*parts, self.version)).encode()


@dataclass(frozen=True)
class _Chunk:
    """Chunk `number` of `count` of tensor number `tensor`; `size` bytes before encryption."""

    entry: TensorEntry
    tensor: int
    number: int
    count: int
    size: int

    @property
    def nonce(self) -> bytes:
        return _NONCE.pack(self.tensor, self.number)

    def associated(self, label: Label) -> bytes:
        return label.purpose(f"{self.entry.name}\0{self.tensor}\0{self.number}\0{self.count}")


def sealed_bytes(manifest: ModelManifest) -> int:
    """The size of a model's share file once it is encrypted. It is larger than the plain one."""
    return HEADER_BYTES + sum(chunk.size + TAG_BYTES for chunk in _chunks(manifest))


class Sealer:
    """Encrypts one share while it arrives, in parts of any size."""

    def __init__(
        self,
        ring: KeyRing,
        label: Label,
        manifest: ModelManifest,
        write: Callable[[bytes], object],
    ) -> None:
        """Begin: `write` gets the header now, and every chunk once its last byte is there."""
        key = os.urandom(KEY_BYTES)
        self._cipher = AESGCM(key)
        self._label = label
        self._write = write
        self._chunks = _chunks(manifest)
        self._chunk = next(self._chunks, None)
        self._waiting = bytearray()
        write(_header(ring, label, key))

    def take(self, part: memoryview) -> None:
        """The next bytes of the share; never more than the manifest announces."""
        while part and self._chunk is not None:
            room = self._chunk.size - len(self._waiting)
            self._waiting += part[:room]
            part = part[room:]
            if len(self._waiting) == self._chunk.size:
                associated = self._chunk.associated(self._label)
                self._write(
                    self._cipher.encrypt(self._chunk.nonce, bytes(self._waiting), associated)
                )
                self._waiting.clear()
                self._chunk = next(self._chunks, None)


def opened(file: BinaryIO, ring: KeyRing, label: Label, manifest: ModelManifest) -> Iterator[bytes]:
    """The share in an encrypted file, a chunk at a time. Raises DigestMismatch.

    The first chunk of a tensor is always a chunk of its own.
    """
    cipher = AESGCM(_data_key(file, ring, label))
    file.seek(HEADER_BYTES)
    for chunk in _chunks(manifest):
        try:
            sealed = file.read(chunk.size + TAG_BYTES)
            yield cipher.decrypt(chunk.nonce, sealed, chunk.associated(label))
        except InvalidTag:
            raise DigestMismatch(
                f"model {label.model_id}: tensor {chunk.entry.name} cannot be decrypted"
            ) from None


def sealed_with(file: BinaryIO) -> str | None:
    """The id of the key that a share file was encrypted with; None for any other file."""
    header = os.pread(file.fileno(), HEADER_BYTES, 0)
    if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
        return None
    return envelope.key_id(header[len(MAGIC) :])


def reseal(file: BinaryIO, ring: KeyRing, label: Label) -> None:
    """Encrypt the data key of a file, open for writing, with the ring's newest key.

    One write of less than a sector, synced. Raises DigestMismatch, and then nothing has changed.
    """
    fcntl.flock(file, fcntl.LOCK_EX)  # or a key that is destroyed meanwhile would come back
    header = _header(ring, label, _data_key(file, ring, label))
    os.pwrite(file.fileno(), header, 0)
    os.fsync(file.fileno())


def destroy_key(file: BinaryIO) -> None:
    """Overwrite the data key of an encrypted file, open for writing; others stay as they are.

    Synced. Nobody can decrypt the file afterwards, whoever has the ring.
    """
    fcntl.flock(file, fcntl.LOCK_EX)
    if sealed_with(file) is not None:
        os.pwrite(file.fileno(), MAGIC + bytes(envelope.SEALED_BYTES), 0)
        os.fsync(file.fileno())


def _header(ring: KeyRing, label: Label, key: bytes) -> bytes:
    return MAGIC + envelope.seal(ring, key, label.purpose("share"))


def _data_key(file: BinaryIO, ring: KeyRing, label: Label) -> bytes:
    for left in reversed(range(_TRIES)):
        header = os.pread(file.fileno(), HEADER_BYTES, 0)
        try:
            if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
                raise DigestMismatch("not an encrypted share")
            return envelope.unseal(ring, header[len(MAGIC) :], label.purpose("share"))
        except DigestMismatch as error:
            if not left:
                raise DigestMismatch(f"model {label.model_id}: {error}") from None
    raise AssertionError("unreachable")


def _chunks(manifest: ModelManifest) -> Iterator[_Chunk]:
    for tensor, entry in enumerate(manifest.tensors):
        count = -(-entry.share_bytes // CHUNK_BYTES)
        for number in range(count):
            size = min(CHUNK_BYTES, entry.share_bytes - number * CHUNK_BYTES)
            yield _Chunk(entry, tensor, number, count, size)
