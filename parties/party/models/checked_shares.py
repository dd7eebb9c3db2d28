"""Read a share against the commitments to it: as it arrives, from its file, or into another file.

Sees one additive share of models, a piece at a time, and this party's salts.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from parties.at_rest.vault import Vault, open_share
from parties.at_rest.zero_sharing import ZeroSharing
from parties.party.models.tables import Model, RefreshedShare
from privedge.errors import DigestMismatch, Refused, ShareError
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_salt,
)
from privedge.sharing.ring import width

_Use = Callable[[TensorEntry, memoryview], object]


@dataclass(frozen=True)
class Expected:
    """What one party's share of a model must be. `commitments` (hex) are in manifest order;
    `version` is empty for a share that was never refreshed.
    """

    manifest: ModelManifest
    salt: bytes = field(repr=False)
    commitments: tuple[str, ...]
    version: str = ""

    @staticmethod
    def uploaded(header: UploadHeader, party: int) -> "Expected":
        """What an owner announces to one party."""
        return Expected(header.manifest, header.salt, header.manifest.commitments_of(party))

    @staticmethod
    def of(row: Model, vault: Vault, prepared: RefreshedShare | None = None) -> "Expected":
        """What a party's registry says: of the share in use, or of a prepared one of that model.

        Raises DigestMismatch for a salt that does not decrypt.
        """
        manifest = row.manifest
        salt = vault.salt(manifest, (prepared or row).salt)
        commitments = (prepared or row).commitments or manifest.commitments_of(vault.party)
        return Expected(manifest, salt, commitments, (prepared or row).version)


def read_checked(expected: Expected, chunks: Iterable[bytes], use: _Use) -> None:
    """Pass chunks on to `use`; each tensor is checked as soon as its last byte is there.

    Raises ShareError for too few or too many bytes, DigestMismatch for others.
    """
    manifest = expected.manifest
    parts = _Parts(manifest, chunks)
    for entry, wanted in zip(manifest.tensors, expected.commitments, strict=True):
        committed = commitment(expected.salt, entry.name)
        for part in parts.take(entry.share_bytes):
            committed.update(part)
            use(entry, part)
        if committed.hexdigest() != wanted:
            raise DigestMismatch(f"{parts.what}: tensor {entry.name} differs from its commitment")
    if parts.more():
        raise ShareError(f"{parts.what}: more bytes than the {manifest.share_bytes} announced")


def fault(
    path: Path, row: Model, vault: Vault, pause: Callable[[], object] = lambda: None
) -> str | None:
    """What is wrong with the share file `path` of a model, or None if it is as its manifest says.

    Reads the whole file, a piece at a time; `pause` is called before each is used.
    """
    try:
        expected = Expected.of(row, vault)
        with open_share(path) as file:
            pieces = vault.pieces(file, expected.manifest, expected.version)
            paused = (piece for piece in pieces if (pause(), True)[1])
            read_checked(expected, paused, lambda entry, part: None)
    except FileNotFoundError:
        return f"model {row.model_id}: its share is missing"
    except OSError as error:
        return f"model {row.model_id}: its share cannot be read ({error.strerror})"
    except Refused as error:
        return f"model {row.model_id}: its share is damaged ({str(error).partition(': ')[2]})"
    return None


def tensor_of(path: Path, row: Model, vault: Vault, name: str) -> bytes:
    """One tensor of this party's share of a model, in wire form. The whole file is checked.

    Raises DigestMismatch for a share that is missing or damaged.
    """
    kept = bytearray()

    def keep(entry: TensorEntry, part: memoryview) -> None:
        if entry.name == name:
            kept.extend(part)

    try:
        expected = Expected.of(row, vault)
        with open_share(path) as file:
            read_checked(expected, vault.pieces(file, expected.manifest, expected.version), keep)
    except (OSError, Refused):
        raise DigestMismatch(f"model {row.model_id}: its share is missing or damaged") from None
    return bytes(kept)


def stored(
    expected: Expected, chunks: Iterable[bytes], target: Path, vault: Vault, *, sync: bool = True
) -> None:
    """Write a share, which is checked meanwhile, to the new file `target` as the vault keeps it.

    With `sync` it is synced on return. Raises as `read_checked` does; OSError.
    """
    with _created(target) as file:
        take = vault.writer(expected.manifest, lambda part: _write(file, part), expected.version)
        read_checked(expected, chunks, lambda entry, part: take(part))
        if sync:
            os.fsync(file.fileno())


def copied(source: Path, target: Path, expected: Expected, vault: Vault) -> None:
    """The same, from another file."""
    with open_share(source) as file:
        pieces = vault.pieces(file, expected.manifest, expected.version)
        stored(expected, pieces, target, vault)


def refreshed(
    source: Path, target: Path, row: Model, vault: Vault, zero: ZeroSharing
) -> tuple[bytes, tuple[str, ...]]:
    """Write the refreshed share of a model to the new file `target`, which is synced on return.

    Returns its fresh salt and its commitments (hex). Raises as `read_checked` does if the present
    share, in `source`, is damaged; OSError.
    """
    expected, salt = Expected.of(row, vault), new_salt()
    names = [entry.name for entry in expected.manifest.tensors]
    streams = {
        entry.name: zero.stream(vault.party, entry.name, width(entry.word_bits))
        for entry in expected.manifest.tensors
    }
    committed = {name: commitment(salt, name) for name in names}
    with open_share(source) as read, _created(target) as file:
        size = os.fstat(read.fileno()).st_size
        if size != expected.manifest.share_bytes and vault.ring is None:
            raise ShareError(f"model {row.model_id}: its share has another size")
        take = vault.writer(expected.manifest, lambda part: _write(file, part), zero.version)

        def use(entry: TensorEntry, part: memoryview) -> None:
            after = streams[entry.name].refreshed(part)
            committed[entry.name].update(after)
            take(after)

        read_checked(expected, vault.pieces(read, expected.manifest, expected.version), use)
        os.fsync(file.fileno())
    return salt, tuple(committed[name].hexdigest() for name in names)


class _Parts:
    """Reads a stream of chunks by tensor, however it was cut."""

    def __init__(self, manifest: ModelManifest, chunks: Iterable[bytes]) -> None:
        self.what = f"model {manifest.model_id}"
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def more(self) -> bool:
        """Whether a byte is left; reads on if need be."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._rest = memoryview(chunk)
        return True

    def take(self, count: int) -> Iterator[memoryview]:
        """The next `count` bytes in pieces. Raises ShareError if the stream ends before."""
        while count:
            if not self.more():
                raise ShareError(f"{self.what}: the share ends {count} bytes early")
            part, self._rest = self._rest[:count], self._rest[count:]
            count -= len(part)
            yield part


def _created(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return open(descriptor, "wb", buffering=0)


def _write(file: BinaryIO, part: bytes | memoryview) -> None:
    part = memoryview(part)
    while part:
        part = part[file.write(part) :]
