"""Where compiled kernels are kept, and whether they can be. Loads neither numba nor torch.

numba keeps no checksums, and would run whatever a damaged disk or an interrupted start left there.
So a list of digests is written last, and nothing is loaded that differs from it.
"""

import hashlib
import importlib.metadata
import os
import stat
from pathlib import Path

_DIGESTS = "SHA256SUMS"


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


def is_sound(folder: Path) -> bool:
    """Whether the kernels here are those of the last `seal`; without any kernels it is."""
    try:
        digests = _digests(folder)
        listed = (folder / _DIGESTS).read_text() if digests else ""
    except (OSError, UnicodeDecodeError):
        return False
    return listed == digests


def seal(folder: Path) -> None:
    """List the digests of all kernels here. Raises OSError."""
    made = folder / f"{_DIGESTS}.new"
    made.write_text(_digests(folder))
    made.replace(folder / _DIGESTS)


def clear(folder: Path) -> None:
    """Remove all kernels. Raises OSError."""
    for each in _kernels(folder):
        each.unlink()
    (folder / _DIGESTS).unlink(missing_ok=True)


def _digests(folder: Path) -> str:
    return "".join(
        f"{hashlib.sha256(each.read_bytes()).hexdigest()}  {each.relative_to(folder)}\n"
        for each in _kernels(folder)
    )


def _kernels(folder: Path) -> list[Path]:
    """numba's indices and its machine code; it keeps a folder for each place of the sources."""
    return sorted(each for each in folder.rglob("*.nb[ci]") if each.is_file())
