"""Room on the disk of a state folder: how much uploads must leave, and the reserve.

    reserve    a file of [disk] reserve_mib, given up when the registry cannot write

So a deletion, which needs a little space before it frees more, still works on a full disk.
"""

import errno
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from parties.config.sections import DiskSection
from privedge.errors import DiskFull

log = logging.getLogger(__name__)

# What the system says when there is no room: none at all, a quota, a limit on file sizes.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MIB = 1 << 20
# A registry that is opened needs about 100 kB beside its file.
_TO_OPEN_BYTES = _MIB


@dataclass(frozen=True)
class Space:
    """Bytes: free on the disk, its size, what uploads must leave free, and what the reserve has."""

    free: int
    size: int
    kept_free: int
    reserve: int


class Disk:
    """The file system of `state`, which must exist. Safe to call from several threads."""

    def __init__(self, state: Path, settings: DiskSection) -> None:
        self._state = state
        self._reserve = state / "reserve"
        self._reserve_bytes = settings.reserve_mib * _MIB
        self._min_free = settings.min_free_percent / 100

    def require_room(self, wanted: int) -> None:
        """Raise DiskFull if `wanted` more bytes would leave less than the share to be kept free.

        What the reserve gave up is not free: an upload would take the room of deletions.
        """
        space = os.statvfs(self._state)
        free = space.f_bavail * space.f_frsize - wanted - self._given_up()
        if free < self._min_free * space.f_blocks * space.f_frsize:
            raise DiskFull(
                f"state: {max(free, 0) // _MIB} MiB would be left on the disk, less than [disk] "
                "min_free_percent; free some space"
            )

    def _given_up(self) -> int:
        """Bytes that the reserve has had, and has not now."""
        try:
            return max(self._reserve_bytes - self._reserve.stat().st_size, 0)
        except FileNotFoundError:  # before the first start, or the reserve is switched off
            return 0

    def space(self) -> Space:
        """What there is now. Raises OSError."""
        found = os.statvfs(self._state)
        size = found.f_blocks * found.f_frsize
        reserve = self._reserve.stat().st_size if self._reserve.exists() else 0
        free = found.f_bavail * found.f_frsize
        return Space(free, size, round(self._min_free * size), reserve)

    def fault(self) -> str:
        """Why uploads are refused for want of room; empty if they are not. Raises OSError."""
        try:
            self.require_room(0)
        except DiskFull as error:
            return str(error)
        return ""

    def reserve_fault(self) -> str:
        """Whether the reserve is in use or gone; empty if it is there. Raises OSError."""
        if not self._reserve_bytes or (self._reserve.exists() and self._reserve.stat().st_size > 0):
            return ""
        return (
            "the reserve is gone or in use, so nothing could be deleted on a full disk; free "
            f"{self._reserve_bytes // _MIB} MiB, and a party sets it aside by itself"
        )

    def reserve_too_large(self) -> str:
        """Whether there is no room for the reserve; empty if there is. Raises OSError."""
        space = self.space()
        wanted = self._reserve_bytes - space.reserve
        if wanted <= 0 or wanted <= space.free - space.kept_free:
            return ""
        return (
            f"there is no room for a reserve of {self._reserve_bytes // _MIB} MiB; lower [disk] "
            "reserve_mib, or free some space"
        )

    def ease(self) -> None:
        """Before the registry is opened: give the reserve up if there is next to no space."""
        space = os.statvfs(self._state)
        if space.f_bavail * space.f_frsize < _TO_OPEN_BYTES:
            self.give_up()

    def give_up(self) -> bool:
        """Free the reserve; whether there was one."""
        try:
            held = self._reserve.stat().st_size
            os.truncate(self._reserve, 0)
        except OSError:
            return False
        if held:
            log.warning("the disk is full: the reserve is in use; free some space")
        return bool(held)

    def set_aside(self) -> None:
        """Make the reserve as large as it should be, if there is room now."""
        wanted = self._reserve_bytes
        try:
            descriptor = os.open(self._reserve, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            log.warning("no reserve on the disk: %s", error.strerror)
            return
        try:
            if os.fstat(descriptor).st_size != wanted:
                os.truncate(descriptor, 0)
                if wanted:
                    os.posix_fallocate(descriptor, 0, wanted)
        except OSError:
            os.truncate(descriptor, 0)  # half of it would only fill the disk
        finally:
            os.close(descriptor)
