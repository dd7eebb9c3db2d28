"""How a party keeps shares and salts on its disk: encrypted under its key ring, or as they are.

Sees one additive share of models, a piece at a time, and this party's salts.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from parties.at_rest import envelope
from parties.at_rest.key_ring import KeyRing
from parties.at_rest.sealed_share import Label, Sealer, opened, sealed_bytes
from parties.config.party import PartyConfig
from privedge.errors import DigestMismatch
from privedge.sharing.manifest import SALT_BYTES, ModelManifest

_READ_BYTES = 1 << 20
# In the clear, and sealed.
SALT_FORMS = (SALT_BYTES, envelope.SEALED_BYTES)
NO_KEY = "is encrypted, and [at_rest] names no key_file"


class Vault:
    """What encrypts and decrypts for one party. Safe to call from several threads."""

    def __init__(self, party: int, ring: KeyRing | None = None) -> None:
        """Without a ring nothing is encrypted."""
        self.party = party
        self.ring = ring

    @staticmethod
    def of(config: PartyConfig) -> "Vault":
        """The vault of a party's file. Raises ConfigError for a key file that cannot be used."""
        file = config.at_rest.key_file
        return Vault(config.index, None if file is None else KeyRing(file))

    def writer(
        self,
        manifest: ModelManifest,
        write: Callable[[bytes | memoryview], object],
        version: str = "",
    ) -> Callable[[memoryview], object]:
        """What takes a share, in parts of any size, and passes on to `write` what the disk gets."""
        if self.ring is None:
            return write
        return Sealer(self.ring, self.label(manifest, version), manifest, write).take

    def pieces(self, file: BinaryIO, manifest: ModelManifest, version: str = "") -> Iterator[bytes]:
        """The share in an open file, in pieces; a file in the clear is read as it is.

        Raises DigestMismatch for what cannot be decrypted; OSError.
        """
        if not is_sealed(file, manifest):
            return iter(lambda: file.read(_READ_BYTES), b"")
        if self.ring is None:
            raise DigestMismatch(f"model {manifest.model_id}: {NO_KEY}")
        return opened(file, self.ring, self.label(manifest, version), manifest)

    def kept(self, manifest: ModelManifest, salt: bytes) -> bytes:
        """A salt as the registry keeps it."""
        if self.ring is None:
            return salt
        return envelope.seal(self.ring, salt, self.label(manifest).purpose("salt"))

    def salt(self, manifest: ModelManifest, kept: bytes) -> bytes:
        """Inverse of `kept`; also for one in the clear. Raises DigestMismatch."""
        if len(kept) != envelope.SEALED_BYTES:
            return kept
        what = f"model {manifest.model_id}"
        if self.ring is None:
            raise DigestMismatch(f"{what}: its salt {NO_KEY}")
        try:
            return envelope.unseal(self.ring, kept, self.label(manifest).purpose("salt"))
        except DigestMismatch as error:
            raise DigestMismatch(f"{what}: its salt is {error}") from None

    def label(self, manifest: ModelManifest, version: str = "") -> Label:
        """What a secret of that model at this party belongs to."""
        return Label.of(self.party, manifest, version)


def open_share(path: Path) -> BinaryIO:
    """Open a share file to read it. Raises OSError, also if something else has its name."""
    # Otherwise a pipe would keep its reader waiting.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no plain file")
    return open(descriptor, "rb", buffering=0)


def is_sealed(file: BinaryIO, manifest: ModelManifest) -> bool:
    """Whether an open share file is encrypted. Only the size decides: an owner chooses the words
    of a share, and could choose any beginning.
    """
    return os.fstat(file.fileno()).st_size == sealed_bytes(manifest)


def is_sealed_file(path: Path, manifest: ModelManifest) -> bool:
    """The same by name. Raises OSError."""
    return path.stat().st_size == sealed_bytes(manifest)
