"""The key ring of a party: a file of keys outside its state folder. Sees the keys.

    # comment
    ID KEY        16 and 64 hexadecimal digits; one line for each key, the newest last

The last key encrypts, and every key decrypts. The id is a digest of the key, so a key with a typing
error is noticed. The file is read again when it changes: a rotation needs no restart.
"""

import hashlib
import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from privedge import private_file, regular_file
from privedge.errors import CheckpointError, ConfigError
from privedge.identity.pem_files import fault_of_mode

log = logging.getLogger(__name__)

KEY_BYTES = 32
ID_BYTES = 8
_LINE = re.compile(r"([0-9a-f]{16}) ([0-9a-f]{64})")
_HEADING = (
    "# Keys of a privedge party. The last one encrypts; every one decrypts. Keep it secret.\n"
)


@dataclass(frozen=True)
class Key:
    """One key: 256 bits from the operating system. `id` is public, in hexadecimal."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The first 64 bits of a digest of the key."""
        return hashlib.sha256(b"privedge key id v1\0" + self.secret).digest()[:ID_BYTES].hex()

    @staticmethod
    def drawn() -> "Key":
        """A fresh key."""
        return Key(os.urandom(KEY_BYTES))


class KeyRing:
    """The keys of one file as it is now. Safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises ConfigError."""
        self._path = path
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._keys = read_keys(path)
        self._fits: Callable[[Sequence[Key]], bool] = lambda _: True
        self._told = ""
        self._changed: Callable[[str], None] = lambda _: None

    def watch(self, changed: Callable[[str], None]) -> None:
        """Call `changed`, which must not take long, now and whenever a changed file is taken over,
        with the id of the key that encrypts from then on.
        """
        self._changed = changed
        changed(self.current.id)

    def accept_only(self, fits: Callable[[Sequence[Key]], bool]) -> None:
        """Take over other keys only if `fits` says so. It may raise ConfigError."""
        self._fits = fits

    @property
    def stamp(self) -> object:
        """Changes whenever a changed file is taken over."""
        with self._lock:
            self._look()
            return self._stamp

    @property
    def keys(self) -> Sequence[Key]:
        """All keys, the newest last."""
        with self._lock:
            self._look()
            return self._keys

    @property
    def current(self) -> Key:
        """The key that encrypts."""
        return self.keys[-1]

    def get(self, key_id: str) -> Key | None:
        """The key of that id; None if the file lacks it."""
        return next((key for key in self.keys if key.id == key_id), None)

    def _look(self) -> None:
        now = _stamp(self._path)
        if now == self._stamp:
            return
        try:
            keys = read_keys(self._path)
            if not self._fits(keys):
                raise ConfigError(f"{self._path}: is another key ring; put the right one back")
        except ConfigError as error:
            if str(error) != self._told:
                self._told = str(error)
                log.error("kept the old keys: %s", error)
            return
        self._keys, self._stamp, self._told = keys, now, ""
        self._changed(keys[-1].id)


def read_keys(path: Path) -> Sequence[Key]:
    """The keys of a file, the newest last; at least one. Raises ConfigError."""
    try:
        found = regular_file.require(path)
        text = regular_file.read(path).decode("ascii")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; make it with `python -m parties keys create`, or put it back"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is no key ring") from None
    fault = fault_of_mode(found.st_uid, stat.S_IMODE(found.st_mode), os.geteuid())
    if fault is not None:
        raise ConfigError(f"{path}: {fault.format(path=path)}")
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            keys.append(_key(line.strip(), f"{path}: line {number}"))
    if not keys:
        raise ConfigError(f"{path}: holds no key")
    return keys


def write_keys(path: Path, keys: Sequence[Key]) -> None:
    """Write a key ring, completely or not at all: mode 0600, or owner, group and mode of the one
    that is there. Raises ConfigError.
    """
    lines = (f"{key.id} {key.secret.hex()}\n" for key in keys)
    try:
        private_file.write(path, (_HEADING + "".join(lines)).encode(), keep_access=True)
    except CheckpointError as error:
        raise ConfigError(str(error)) from None


def _key(line: str, where: str) -> Key:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ConfigError(f"{where} is no key; it needs an id and 64 hexadecimal digits")
    key = Key(bytes.fromhex(match[2]))
    if key.id != match[1]:
        raise ConfigError(f"{where}: the key does not have the id that stands before it")
    return key


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:  # for a moment, while it is replaced by hand
        return None
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns
