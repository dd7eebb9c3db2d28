"""Share files: one per model, `<model id>.words`, the tensors' words in manifest order.

Sees one additive share of every model, and this party's salt of it. What lies on the disk is
encrypted if the party has a key ring (parties/at_rest). A file with its final name is
complete, checked, synced and in the registry, because it is written under a temporary name in the
same folder and gets its name last. A temporary file outlives its upload only if the process dies.
An upload of any size uses the memory of one chunk.

Only what an owner has deleted is removed. Everything else that is no longer wanted goes to the
trash, and from there only by the clock; a start removes nothing (docs/adr/0012-state-folder.md).
"""

import logging
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from parties.at_rest.sealed_share import destroy_key
from parties.at_rest.vault import Vault
from parties.at_rest.zero_sharing import ZeroSharing
from parties.party.models.checked_shares import Expected, fault, refreshed, stored, tensor_of
from parties.party.models.disk import FULL
from parties.party.models.syncing import sync_file_system
from parties.party.models.tables import Model
from parties.party.models.trash import Trash
from privedge.errors import DigestMismatch, DiskFull, ShareError
from privedge.private_file import sync_folder
from privedge.sharing.manifest import UploadHeader

log = logging.getLogger(__name__)

_MODEL_ID = re.compile(r"[0-9a-f]{32}")
SUFFIX = ".words"
PARTIAL = ".partial"
NEXT = ".next"


class ShareFiles:
    """The share folder of one party. Safe to call from several threads."""

    def __init__(self, folder: Path, trash: Trash, vault: Vault) -> None:
        """Use `folder`, creating it with mode 0700. The vault's party picks commitments."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._trash = trash
        self.vault = vault
        self._lock = threading.Lock()
        # What each holder holds. One may hold thousands, so holding copies nothing.
        self._held: list[Collection[str]] = []
        # Models that leave with their last holder, and how.
        self._leaving: dict[str, Callable[[str], None]] = {}

    def path(self, model_id: str) -> Path:
        """Where a model's share is, or would be. Raises ShareError for anything but an id."""
        if not _MODEL_ID.fullmatch(model_id):
            raise ShareError("model id: needs 32 hexadecimal digits")
        return self._folder / f"{model_id}{SUFFIX}"

    def store(
        self,
        header: UploadHeader,
        chunks: Iterable[bytes],
        register: Callable[[], None] = lambda: None,
    ) -> None:
        """Write a share to disk as it arrives; on return it is synced and has its final name.

        `register` is called once all bytes are on disk, and before the file gets its name. Raises
        what it raises, ShareError for too few or too many bytes, DigestMismatch for other bytes
        than the manifest commits to, DiskFull. Then no file is left behind.
        """
        final = self.path(header.manifest.model_id)
        temporary = self._partial(header)
        try:
            expected = Expected.uploaded(header, self.vault.party)
            stored(expected, chunks, temporary, self.vault)
            sync_folder(self._folder)
            register()
            temporary.rename(final)  # not synced: `tidy` does it again after a power cut
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(f"model {final.stem}: the disk is full") from None
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def store_all(
        self, shares: Sequence[tuple[UploadHeader, Iterable[bytes]]], register: Callable[[], None]
    ) -> None:
        """Write many small shares to disk as `store` does: all of them, or none.

        Raises as `store` does.
        """
        named = [
            (self._partial(header), self.path(header.manifest.model_id)) for header, _ in shares
        ]
        placed = list[Path]()
        try:
            for (header, chunks), (temporary, _) in zip(shares, named, strict=True):
                expected = Expected.uploaded(header, self.vault.party)
                stored(expected, chunks, temporary, self.vault, sync=False)
            sync_file_system(self._folder)
            register()
            for temporary, final in named:
                temporary.rename(final)
                placed.append(final)
        except BaseException as error:
            for final in placed:
                final.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in FULL:
                raise DiskFull("state: the disk is full") from None
            raise
        finally:
            for temporary, _ in named:
                temporary.unlink(missing_ok=True)

    def _partial(self, header: UploadHeader) -> Path:
        final = self.path(header.manifest.model_id)
        return final.with_suffix(f".{secrets.token_hex(8)}{PARTIAL}")

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
                for model_id in list(self._leaving):
                    self._leave_if_free(model_id)

    def remove(self, model_id: str) -> None:
        """Remove a share file, now or after its last holder is done, and from the trash."""
        with self._lock:
            self._leaving[model_id] = self._unlink
            self._leave_if_free(model_id)

    def retire(self, model_id: str) -> None:
        """Move a share file to the trash, now or after its last holder is done."""
        with self._lock:
            self._leaving[model_id] = lambda retired: self._trash.put(self.path(retired))
            self._leave_if_free(model_id)

    def revive(self, model_id: str) -> bool:
        """Keep a retired model's share after all; whether it is there."""
        with self._lock:
            self._leaving.pop(model_id, None)
            path = self.path(model_id)
            return path.exists() or self._trash.take_back(path)

    def forget_all_but(self, count: int, model_ids: Collection[str]) -> None:
        """Of these retired models, keep the `count` that came to the trash last."""
        with self._lock:
            self._trash.keep_newest({f"{model_id}{SUFFIX}" for model_id in model_ids}, count)

    def empty_trash(self, days: float, deleted: Callable[[set[str]], set[str]], now: float) -> None:
        """Remove what has waited for so many days, and what `deleted` says its owner deleted."""
        with self._lock:
            gone = deleted(_ids(self._trash.names()))
            self._trash.empty(days, {f"{model_id}{SUFFIX}" for model_id in gone}, now)

    def everywhere(self) -> list[Path]:
        """Every file of the folder and of the trash."""
        return [*self._folder.iterdir(), *self._trash.folder.iterdir()]

    def in_trash(self) -> tuple[int, int]:
        """How many files wait in the trash, and their bytes. Raises OSError."""
        return self._trash.held()

    def there(self) -> set[str]:
        """Ids of the models whose share is in the folder."""
        return _ids(path.name for path in self._folder.iterdir())

    def lost(self, model_ids: Collection[str]) -> set[str]:
        """Those of these ids whose share is neither in the folder nor in the trash."""
        with self._lock:
            return set(model_ids) - self.there() - _ids(self._trash.names())

    # --- A refresh (refreshes.py) -----------------------------------------------------------------

    def refresh(self, row: Model, zero: ZeroSharing) -> tuple[bytes, tuple[str, ...]]:
        """Write a model's refreshed share beside its present one; see `refreshed`. A file of the
        same name is replaced. Raises what it raises, DiskFull.
        """
        target = self._next(row.model_id, zero.version)
        temporary = target.with_suffix(f".{secrets.token_hex(8)}{PARTIAL}")
        try:
            made = refreshed(self.path(row.model_id), temporary, row, self.vault, zero)
            temporary.rename(target)
            sync_folder(self._folder)
        except OSError as error:
            if error.errno in FULL:
                raise DiskFull(f"model {row.model_id}: the disk is full") from None
            raise
        finally:
            temporary.unlink(missing_ok=True)
        return made

    def take_over(self, model_id: str, version: str) -> None:
        """Put a refreshed share, which the registry says is in use, in its place for good.

        The share of before is destroyed, as far as a file system can do that. Again is fine, also
        after a failure in the middle. Raises OSError.
        """
        path = self.path(model_id)
        with self._lock:  # or a second call could destroy the share that the first put in place
            if not self.has_refreshed(model_id, version):
                return
            with suppress(FileNotFoundError), path.open("r+b", buffering=0) as file:
                destroy_key(file)
            self._next(model_id, version).replace(path)  # not synced: `tidy` does it again
            self.drop_refreshed(model_id)

    def settle(self, row: Model) -> None:
        """Take over the share that the registry says is in use, if that failed before."""
        if row.version:
            with suppress(OSError):  # its reader notices
                self.take_over(row.model_id, row.version)

    def has_refreshed(self, model_id: str, version: str) -> bool:
        """Whether that refreshed share is on disk and not in its place yet."""
        return self._next(model_id, version).exists()

    def drop_refreshed(self, model_id: str, version: str = "*") -> None:
        """Remove refreshed shares of a model that will not be used."""
        for path in self._folder.glob(f"{model_id}.{version}{NEXT}"):
            path.unlink(missing_ok=True)

    def _next(self, model_id: str, version: str) -> Path:
        return self.path(model_id).with_suffix(f".{version}{NEXT}")

    def _settle(self, path: Path, row: Model | None, prepared: Collection[str]) -> None:
        """At start: a refreshed share that is in use gets its place, and one that will never be
        used is removed.
        """
        version = version_of(path)
        if row is not None and row.version == version:
            self.take_over(row.model_id, version)
        elif row is None or version not in prepared:
            path.unlink(missing_ok=True)

    # --- At start ---------------------------------------------------------------------------------

    def tidy(self, live: Mapping[str, Model], prepared: Collection[str] = ()) -> None:
        """At start: give everything its place. `live` are the models whose share must be there,
        `prepared` the versions of refreshed shares that may still come into use.

        An upload that was registered but not named yet gets its name; shares of other models and
        uploads that broke off go to the trash. Nothing that was ever in use is removed.
        """
        for path in sorted(self._folder.glob(f"*{NEXT}")):
            self._settle(path, live.get(model_of(path)), prepared)
        for path in sorted(self._folder.iterdir()):
            model_id = path.name.partition(".")[0]
            half = path.suffix == PARTIAL and not self._finished(path, live.get(model_id))
            if half or (path.suffix == SUFFIX and path.stem not in live):
                self._trash.put(path)
        for model_id in sorted(live):
            if not self.revive(model_id):
                log.error("model %s: its share is missing; put it back from a backup", model_id)

    def _finished(self, path: Path, row: Model | None) -> bool:
        """Whether an upload that the process died in was registered, and can be named now."""
        if row is None or self.path(row.model_id).exists() or self.fault(row, path):
            return False
        path.rename(self.path(row.model_id))
        return True

    def fault(
        self, row: Model, path: Path | None = None, pause: Callable[[], object] = lambda: None
    ) -> str | None:
        """What is wrong with a model's share file, or None if it is as its manifest says."""
        return fault(path or self.path(row.model_id), row, self.vault, pause)

    def tensor(self, row: Model, name: str) -> bytes:
        """One tensor of this party's share of a model. Raises DigestMismatch."""
        return tensor_of(self.path(row.model_id), row, self.vault, name)

    def salt(self, row: Model) -> bytes:
        """A model's salt; empty if it cannot be decrypted, and then no file fits it."""
        try:
            return self.vault.salt(row.manifest, row.salt)
        except DigestMismatch:
            return b""

    def mark(self, model_id: str) -> object:
        """Changes whenever the file is written, replaced, removed or made readable, also by other
        keys.
        """
        try:
            found = self.path(model_id).stat()
        except OSError:
            return None
        keys = None if self.vault.ring is None else self.vault.ring.stamp
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns, keys

    def _leave_if_free(self, model_id: str) -> None:
        if not any(model_id in held for held in self._held):
            self._leaving.pop(model_id)(model_id)

    def _unlink(self, model_id: str) -> None:
        path = self.path(model_id)
        path.unlink(missing_ok=True)
        self.drop_refreshed(model_id)
        self._trash.drop(path.name)


def model_of(path: Path) -> str:
    """The model id in the name of a file of the share folder, or of the trash."""
    first, _, rest = path.name.partition(".")
    return first if _MODEL_ID.fullmatch(first) else rest.partition(".")[0]


def version_of(path: Path) -> str:
    """The version in the name of a refreshed share that is not in its place yet."""
    return path.name.split(".")[1]


def _ids(names: Iterable[str]) -> set[str]:
    """Ids of the models whose share files have these names."""
    return {
        name.removesuffix(SUFFIX)
        for name in names
        if name.endswith(SUFFIX) and _MODEL_ID.fullmatch(name.removesuffix(SUFFIX))
    }
