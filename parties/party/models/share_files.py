"""Share files: one per model, `<model id>.words`, the tensors' words in manifest order.

Sees one additive share of every model, and this party's salt of it. A file with its final name is
complete, checked and synced, because it is written under a temporary name in the same folder. A
temporary file outlives its upload only if the process dies, and the next start removes it. An
upload of any size uses the memory of one chunk.
"""

import errno
import os
import re
import secrets
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from privedge.errors import DigestMismatch, LimitExceeded, ShareError
from privedge.private_file import sync_folder
from privedge.sharing.manifest import ModelManifest, UploadHeader, commitment

_MODEL_ID = re.compile(r"[0-9a-f]{32}")
_SUFFIX = ".words"
_TEMPORARY = ".partial"
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class ShareFiles:
    """The share folder of one party. Safe to call from several threads."""

    def __init__(self, folder: Path, party: int) -> None:
        """Use `folder`, creating it with mode 0700. `party` picks commitments: 0 or 1."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._party = party
        self._lock = threading.Lock()
        # What each holder holds. One may hold thousands, so holding copies nothing.
        self._held: list[Collection[str]] = []
        self._unwanted: set[str] = set()

    def path(self, model_id: str) -> Path:
        """Where a model's share is, or would be. Raises ShareError for anything but an id."""
        if not _MODEL_ID.fullmatch(model_id):
            raise ShareError("model id: needs 32 hexadecimal digits")
        return self._folder / f"{model_id}{_SUFFIX}"

    def store(self, header: UploadHeader, chunks: Iterable[bytes]) -> None:
        """Write a share to disk as it arrives; on return it is synced under its final name.

        Raises ShareError for too few or too many bytes, DigestMismatch for other bytes than the
        manifest commits to, LimitExceeded when the disk is full. Then nothing is left behind.
        """
        final = self.path(header.manifest.model_id)
        temporary = final.with_suffix(f".{secrets.token_hex(8)}{_TEMPORARY}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb", buffering=0) as file:
                _write_checked(file, header, self._party, chunks)
                os.fsync(descriptor)
            temporary.rename(final)
            sync_folder(self._folder)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise LimitExceeded(f"model {final.stem}: the disk is full") from None
            raise
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def hold(self, model_ids: Collection[str]) -> Iterator[None]:
        """Keep these files on disk until the block ends, even if they are removed meanwhile."""
        with self._lock:
            self._held.append(model_ids)
        try:
            yield
        finally:
            with self._lock:
                self._held.remove(model_ids)
                for model_id in list(self._unwanted):
                    self._remove_if_free(model_id)

    def remove(self, model_id: str) -> None:
        """Remove a share file, now or after its last holder is done. It may be missing already."""
        with self._lock:
            self._unwanted.add(model_id)
            self._remove_if_free(model_id)

    def sweep(self, wanted: set[str]) -> None:
        """At start: remove temporary files and the shares of all models but `wanted`."""
        for path in self._folder.iterdir():
            stale = path.suffix == _TEMPORARY
            if stale or (path.suffix == _SUFFIX and path.stem not in wanted):
                path.unlink()

    def _remove_if_free(self, model_id: str) -> None:
        if not any(model_id in held for held in self._held):
            self._unwanted.discard(model_id)
            self.path(model_id).unlink(missing_ok=True)


def _write_checked(
    file: BinaryIO, header: UploadHeader, party: int, chunks: Iterable[bytes]
) -> None:
    """Copy chunks to `file`; each tensor is checked as soon as its last byte is there."""
    manifest = header.manifest
    parts = _Parts(manifest, chunks)
    for entry in manifest.tensors:
        committed = commitment(header.salt, entry.name)
        for part in parts.take(entry.share_bytes):
            committed.update(part)
            _write_all(file, part)
        if committed.hexdigest() != entry.commitments[party]:
            raise DigestMismatch(f"{parts.what}: tensor {entry.name} differs from its commitment")
    if parts.more():
        raise ShareError(f"{parts.what}: more bytes than the {manifest.share_bytes} announced")


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


def _write_all(file: BinaryIO, part: memoryview) -> None:
    while part:
        part = part[file.write(part) :]
