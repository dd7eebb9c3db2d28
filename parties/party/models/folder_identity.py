"""The identity file of a state folder: whose it is, and how new its registry must be.

    identity.json    one block of BLOCK bytes: a JSON object, filled up with spaces

It holds nothing secret. It is overwritten in place, in one write of one disk sector: that needs no
space, so it also works on a full disk.
"""

import json
import logging
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from privedge import private_file
from privedge.errors import ConfigError

log = logging.getLogger(__name__)

# Raised when a field gets another meaning.
FORMAT = 1
BLOCK = 512
NAME = "identity.json"
# Far below the largest integer of a database, and far above every honest epoch.
HIGHEST_EPOCH = 1 << 62


@dataclass(frozen=True)
class FolderIdentity:
    """Which state folder this is.

    party: 0 or 1.
    folder: drawn once; the registry has the same.
    deployment: drawn once for both parties; empty until they have met.
    epoch: the registry of this folder has this epoch, or a higher one if the process died between
        two writes. It is 0 until the folder has a registry.
    """

    party: int
    folder: str
    deployment: str = ""
    epoch: int = 0

    @staticmethod
    def drawn(party: int) -> "FolderIdentity":
        """The identity of a new folder."""
        return FolderIdentity(party, new_id())


class IdentityFile:
    """The file in `state`. One thread at a time may write."""

    def __init__(self, state: Path) -> None:
        self._path = state / NAME
        self._now: FolderIdentity | None = None

    def read(self) -> FolderIdentity | None:
        """What the file says, or None if there is none. Raises ConfigError if it is unreadable."""
        try:
            fields = json.loads(self._path.read_text(encoding="ascii"))
            if fields.pop("format") != FORMAT:
                raise ConfigError(
                    f"state: {self._path} has another format than {FORMAT}, the one that this "
                    "release reads; start the release that wrote it"
                )
            self._now = _checked(FolderIdentity(**fields))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"state: cannot read {self._path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise ConfigError(
                f"state: {self._path} is damaged; put it back from a backup, or remove it and run "
                "`python -m parties adopt`"
            ) from None
        return self._now

    def write(self, identity: FolderIdentity) -> None:
        """Say this from now on; a new file is on disk on return. Raises ConfigError."""
        if identity == self._now:
            return
        raw = (json.dumps({"format": FORMAT} | asdict(identity)).ljust(BLOCK - 1) + "\n").encode()
        try:
            if self._now is None:
                private_file.write(self._path, raw)
            else:
                _overwrite(self._path, raw)
        except OSError as error:
            raise ConfigError(f"state: cannot write {self._path}: {error.strerror}") from None
        self._now = identity

    def advance(self, deployment: str, epoch: int) -> None:
        """The registry has committed this. If it cannot be written, the next commit says more."""
        if self._now is not None:
            try:
                self.write(replace(self._now, deployment=deployment, epoch=epoch))
            except ConfigError as error:
                log.warning("the epoch is behind: %s", error)


def new_id() -> str:
    """128 random bits, as 32 hexadecimal digits."""
    return secrets.token_hex(16)


def _checked(found: FolderIdentity) -> FolderIdentity:
    """Raise TypeError or ValueError if a field is not what it should be."""
    types = (int, str, str, int)
    values = (found.party, found.folder, found.deployment, found.epoch)
    if any(type(value) is not kind for value, kind in zip(values, types, strict=True)):
        raise TypeError
    if not 0 <= found.epoch <= HIGHEST_EPOCH:
        raise ValueError
    return found


def _overwrite(path: Path, raw: bytes) -> None:
    # Not synced: the registry is, and after a power cut its epoch may be the higher one.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, raw, 0)
    finally:
        os.close(descriptor)
