"""Read a file that a person has named, without ever waiting for it.

Opening a pipe waits for somebody to write, and reading a device or socket may never end. So nothing
but a regular file is opened, and every reader of a named path in this library comes through here.
Errors are OSError, as of `open`; callers turn them into their own.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

# Windows has neither the flag nor named pipes among its files.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
_KINDS = (
    (stat.S_ISFIFO, "is a pipe, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)


def require(path: Path) -> os.stat_result:
    """Return the facts of the file at `path`. Raises OSError for anything but a regular file."""
    found = os.stat(path)
    _require_regular(path, found.st_mode)
    return found


def opened(path: Path) -> BufferedReader:
    """Open the file at `path` for reading. Raises OSError for anything but a regular file."""
    require(path)  # before it is opened, because opening some devices does something
    file = open(path, "rb", opener=_at_once)  # noqa: SIM115 - handed to the caller
    try:
        # Somebody may have put a pipe in its place in between.
        _require_regular(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def read(path: Path) -> bytes:
    """Return what the file at `path` holds. Raises OSError for anything but a regular file."""
    with opened(path) as file:
        return file.read()


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | _AT_ONCE)


def _require_regular(path: Path, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    said = (text for is_of, text in _KINDS if is_of(mode))
    raise OSError(errno.EINVAL, next(said, "is not a file"), str(path))
