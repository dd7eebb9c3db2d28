"""Where compiled kernels are kept, and whether they can be. Loads neither numba nor torch."""

import hashlib
import importlib.metadata
import os
import stat
from pathlib import Path


def folder() -> Path:
    """Where compiled kernels are kept: $CACHE_DIRECTORY (which systemd sets), $XDG_CACHE_HOME or
    ~/.cache, and in it a folder for these sources under this version of numba.
    """
    given = os.environ.get("CACHE_DIRECTORY", "").split(":")[0] or os.environ.get("XDG_CACHE_HOME")
    base = Path(given) if given else Path.home() / ".cache"
    sources = hashlib.sha256(importlib.metadata.version("numba").encode())
    # numba looks at the file of a kernel only, not at the helpers that it calls.
    for source in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(source.read_bytes())
    return base / "privedge" / "kernels" / sources.hexdigest()[:16]


def fault_of(folder: Path) -> str:
    """Why this folder, or one to be made there, cannot keep kernels; empty if it can.

    It must be this user's alone: what is in it will be run as code.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    found = there.stat()
    if not stat.S_ISDIR(found.st_mode):
        return f"{there} is no folder"
    others = found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if there == folder and others:
        return "others could write there"
    return "" if os.access(there, os.W_OK) else f"{there} is not writable"
