"""Put everything that was written in a file system on its disk at once.

For many small files that is one wait in place of one for each. An error in writing a file is told
by Linux 5.8 and newer.
"""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)


def sync_file_system(folder: Path) -> None:
    """Return once all that was written in the file system of `folder` is on disk.

    Raises OSError.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _LIBC.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        with suppress(OSError):
            os.close(descriptor)
