"""The files of an audit log: one after the other, each only ever appended to.

audit/000000000001.jsonl    named after the number of its first line
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from parties.party.audit.chain import EMPTY, Head, read_head
from privedge.errors import ConfigError

log = logging.getLogger(__name__)

FOLDER = "audit"
_DIGITS = 12


def files_of(folder: Path) -> list[Path]:
    """Return the files of a log in order."""
    return sorted(folder.glob("[0-9]" * _DIGITS + ".jsonl"))


def lines_of(folder: Path) -> Iterator[bytes]:
    """Read all lines of a log. Raises ConfigError."""
    for file in files_of(folder):
        try:
            with file.open("rb") as lines:
                yield from lines
        except OSError as error:
            raise ConfigError(f"audit: cannot read {file}: {error.strerror}") from None


@dataclass(frozen=True)
class _End:
    """The end of a log. `whole` of the `size` bytes of its newest `file` are whole lines."""

    file: Path
    head: Head
    whole: int
    size: int


def require_continuable(folder: Path) -> None:
    """Raise ConfigError, as AuditFiles does, if the end of a log cannot be continued. Changes
    nothing.
    """
    try:
        if (end := _end_of(folder)) is not None:
            os.close(os.open(end.file, os.O_WRONLY | os.O_APPEND))
    except OSError as error:
        raise _unusable(folder, error) from None


def _end_of(folder: Path) -> _End | None:
    """Raises ConfigError if it is damaged; OSError."""
    files = [file for file in files_of(folder) if file.stat().st_size]
    if not files:
        return None
    raw = files[-1].read_bytes()
    end = raw.rfind(b"\n") + 1
    head = read_head(raw[raw.rfind(b"\n", 0, max(0, end - 1)) + 1 : end])
    if head is None:
        raise ConfigError(
            f"audit: the end of {files[-1]} is damaged; keep the folder as it is under another "
            "name, and the party begins a new log"
        )
    return _End(files[-1], head, end, len(raw))


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"audit: cannot use {folder}: {error.strerror}")


class AuditFiles:
    """Appends lines, each on disk when `append` returns True. For one thread at a time."""

    def __init__(self, folder: Path, max_bytes: int, make_room: Callable[[], bool]) -> None:
        """Open a log, or begin one. Raises ConfigError if its end cannot be continued.

        `make_room` is called when the disk is full, and says whether to try again.
        """
        self._folder, self._max_bytes, self._make_room = folder, max_bytes, make_room
        self._file = -1
        self._size = 0
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self.head = self._opened()
        except OSError as error:
            raise _unusable(folder, error) from None

    def append(self, lines: Sequence[bytes], first: int) -> bool:
        """Add lines, of which the first has this number. False, and nothing is added, if the disk
        is full or fails.
        """
        raw = b"".join(lines)
        for _ in range(2):
            try:
                self._append(raw, first)
                return True
            except OSError as error:
                log.error("the audit log cannot be written: %s", error.strerror)
            if not self._make_room():
                break
        with suppress(OSError):  # or before the next line
            self._undo()
        return False

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _opened(self) -> Head:
        """Continue the newest file, without what a crash left of a line. Returns its head."""
        files = files_of(self._folder)
        while files and not files[-1].stat().st_size:
            files.pop().unlink()  # a crash came between the file and its first line
        end = _end_of(self._folder)
        if end is None:
            return EMPTY
        self._file = os.open(end.file, os.O_WRONLY | os.O_APPEND)
        self._size = end.whole
        if end.whole < end.size:
            log.warning("audit: %d bytes of a line that a crash cut off", end.size - end.whole)
            os.ftruncate(self._file, end.whole)
        return end.head

    def _append(self, raw: bytes, first: int) -> None:
        self._undo()
        if self._file < 0 or self._size >= self._max_bytes:
            self._begin(first)
        if os.write(self._file, raw) != len(raw):
            raise OSError(0, "the disk is full")
        os.fsync(self._file)
        self._size += len(raw)

    def _begin(self, first: int) -> None:
        path = self._folder / f"{first:0{_DIGITS}}.jsonl"
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.close()
        self._file, self._size = file, os.fstat(file).st_size
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _undo(self) -> None:
        """Take back what a failure left of a line, so that the file ends with a whole one."""
        if self._file >= 0:
            os.ftruncate(self._file, self._size)
