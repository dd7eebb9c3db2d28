"""Write a file completely or not at all; only its owner may read it."""

import glob
import os
import stat
import tempfile
from pathlib import Path

from privedge.errors import CheckpointError

# The suffix of a file that is being written.
_PART = ".part"


def require_writable(path: Path) -> None:
    """Raise CheckpointError if `write` would surely fail. Call it before hours of training."""
    try:
        _require_place(path)
    except OSError as error:  # a name too long, or a folder above that cannot be entered
        reason = error.strerror
        raise CheckpointError(f"{str(path)[:200]}: cannot be written ({reason})") from None


def _require_place(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise CheckpointError(f"{path}: its folder does not exist; create it first")
    # A rename would even replace a device, and a link that leads nowhere.
    if os.path.lexists(path) and not path.is_file():
        raise CheckpointError(f"{path}: exists and is not a file; choose another name")
    if not os.access(path.absolute().parent, os.W_OK):
        raise CheckpointError(f"{path}: its folder is not writable; choose another one")


def write(path: Path, raw: bytes, *, keep_access: bool = False, mode: int | None = None) -> None:
    """Replace `path` by `raw` atomically: mode 0600, on disk before the old content is gone.

    keep_access: with owner, group and mode of the file that is there, if there is one.
    mode: in place of 0600, for what is not private; Windows has no such modes.
    Raises CheckpointError if it cannot be written; no half-written file is left behind.
    """
    require_writable(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
        try:
            with os.fdopen(handle, "wb") as file:
                if keep_access:
                    _give_access_of(path, handle)
                if mode is not None and hasattr(os, "fchmod"):
                    os.fchmod(handle, mode)
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror})") from None


def _give_access_of(path: Path, handle: int) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    if not hasattr(os, "fchown"):  # on Windows a new file has the access of its folder
        return
    os.fchown(handle, found.st_uid, found.st_gid)
    os.fchmod(handle, stat.S_IMODE(found.st_mode))


def remove_parts(path: Path) -> None:
    """Remove the leftovers of processes that were killed while they wrote `path`.

    No process may be writing `path` now.
    """
    for part in path.parent.glob(f".{glob.escape(path.name)}.*{_PART}"):
        part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` survive a power cut, where the system lets us."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
