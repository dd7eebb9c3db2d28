"""The virtual environment that SPU runs in: one that is there already, or one that is made here.

SPU needs versions of numpy and jax that nothing of ours wants, so it never shares an environment
with us.
"""

import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from privedge.errors import MissingExtra
from privedge.progress import Progress

VERSION = "0.9.5"
# What this version has packages for.
PYTHONS = ((3, 11), (3, 10))
MACHINES = ("Linux x86_64", "Linux aarch64")

_PACKAGE = f"spu=={VERSION}"
_HAS = "import importlib.metadata as known; print(known.version('spu'))"
_STEPS = 2
# jax and SPU are 250 MB to fetch.
_INSTALL_S = 1800.0
_ANSWER_S = 60.0


@contextmanager
def environment(folder: Path | None, progress: Progress) -> Iterator[Path]:
    """Give the interpreter of an environment with SPU.

    folder: one that is there already, or where one is made, which stays; None makes one that is
    removed afterwards.

    Raises MissingExtra if SPU has no package for this machine or cannot be installed, or if the
    environment in `folder` has another version or none.
    """
    if folder is not None:
        if not folder.exists():
            _make(folder, progress)
        _require(folder)
        yield python_in(folder)
        return
    with tempfile.TemporaryDirectory(prefix="privedge-spu-") as scratch:
        made = Path(scratch) / "environment"
        _make(made, progress)
        yield python_in(made)


def python_in(folder: Path) -> Path:
    """The interpreter of the virtual environment in `folder`."""
    # Absolute, but a link is not followed: the environment is found by the link's own place.
    return folder.absolute() / "bin" / "python"


def interpreter(mine: tuple[int, int], machine: str) -> str:
    """An interpreter that SPU has packages for: this one, whose version is `mine`, or another one
    on the path. `machine` is such as one of MACHINES. Raises MissingExtra.
    """
    if machine not in MACHINES:
        raise MissingExtra(f"{_PACKAGE} has no package for {machine}; it has for {_or(MACHINES)}")
    if mine in PYTHONS:
        return sys.executable
    names = [f"python{major}.{minor}" for major, minor in PYTHONS]
    for name in names:
        found = shutil.which(name)
        if found and _works(found):
            return found
    raise MissingExtra(
        f"{_PACKAGE} has no package for Python {mine[0]}.{mine[1]}, and there is no {_or(names)} "
        "on the path; install one of them"
    )


def _works(python: str) -> bool:
    """Some are on the path only to say that they are not installed."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def _make(folder: Path, progress: Progress) -> None:
    """Make the environment, or leave nothing behind."""
    python = interpreter(sys.version_info[:2], f"{platform.system()} {platform.machine()}")
    try:
        progress("install spu", 0, _STEPS)
        _run([python, "-m", "venv", str(folder)], "cannot make a virtual environment")
        progress("install spu", 1, _STEPS)
        pip = [str(python_in(folder)), "-m", "pip", "--disable-pip-version-check", "--no-input"]
        _run([*pip, "install", "--quiet", _PACKAGE], f"cannot install {_PACKAGE}")
        progress("install spu", _STEPS, _STEPS)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _require(folder: Path) -> None:
    """Raise MissingExtra unless the environment in `folder` has this version of SPU."""
    try:
        asked = [str(python_in(folder)), "-c", _HAS]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_ANSWER_S)
        found = done.stdout.strip() if done.returncode == 0 else "none"
    except (OSError, subprocess.TimeoutExpired):
        raise MissingExtra(
            f"{folder}: is no virtual environment; name one with {_PACKAGE}, or a folder that is "
            "not there yet"
        ) from None
    if found != VERSION:
        raise MissingExtra(
            f"{folder}: needs {_PACKAGE} and has {found}; run "
            f"{folder}/bin/python -m pip install {_PACKAGE}"
        )


def _run(command: Sequence[str], failed: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S)
    except OSError as error:
        raise MissingExtra(f"{failed}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise MissingExtra(f"{failed}: nothing after {_INSTALL_S:.0f} seconds") from None
    if done.returncode:
        raise MissingExtra(f"{failed}: {_last(done.stderr or done.stdout)}")


def _last(said: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason was given"


def _or(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
