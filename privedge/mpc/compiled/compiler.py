"""Compile all kernels before a server says that it is ready, and keep them on disk.

numba compiles Python loops for the processor that it finds: AVX2, AVX-512 or Arm. Kernels work on
uint64, because LLVM assumes that numba's signed products never overflow.

    1.  a module marks its loops with `kernel`, which compiles nothing yet
    2.  `prepare` compiles them all, or loads what an earlier start compiled
    3.  from then on `ready.usable` is true, and no call can start the compiler
"""

import fcntl
import hashlib
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numba

from privedge.mpc.compiled.ready import State

log = logging.getLogger(__name__)

_MODULES = ("products", "trees", "elements")
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

_kernels: list[tuple[Any, tuple[str, ...]]] = []


def kernel(*signatures: str) -> Callable[[Callable[..., Any]], Any]:
    """Mark a loop to be compiled for these numba signatures, and for no others."""

    def mark(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**_OPTIONS)(function)
        _kernels.append((dispatcher, signatures))
        return dispatcher

    return mark


def helper(function: Callable[..., Any]) -> Any:
    """Mark what kernels call. It becomes part of each."""
    return numba.njit(**_OPTIONS)(function)


def prepare(cache: Path | None = None) -> None:
    """Compile every kernel, or load it from the folder `cache`; None means `cache_folder()`.

    The first start takes some ten seconds, others less than one. If the folder cannot be used, the
    log says so, and every start compiles. Servers that start at once compile one after another.
    """
    if State.compiled:
        return
    started = time.perf_counter()
    folder = _private(cache or cache_folder())
    with _turn(folder):
        _compile(folder)
    choice = import_module(f"{__package__}.choice")
    State.torch_is_faster = choice.torch_is_faster()
    State.compiled = True
    if any(sum(dispatcher.stats.cache_misses.values()) for dispatcher, _ in _kernels):
        log.info("kernels compiled in %.0f s", time.perf_counter() - started)


def cache_folder() -> Path:
    """Where compiled kernels are kept: $CACHE_DIRECTORY (which systemd sets), $XDG_CACHE_HOME or
    ~/.cache, and in it a folder for these sources under this version of numba.
    """
    given = os.environ.get("CACHE_DIRECTORY", "").split(":")[0] or os.environ.get("XDG_CACHE_HOME")
    base = Path(given) if given else Path.home() / ".cache"
    sources = hashlib.sha256(numba.__version__.encode())
    # numba looks at the file of a kernel only, not at the helpers that it calls.
    for source in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(source.read_bytes())
    return base / "privedge" / "kernels" / sources.hexdigest()[:16]


def _compile(folder: Path | None) -> None:
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)
    for name in _MODULES:
        import_module(f"{__package__}.{name}")
    for dispatcher, signatures in _kernels:
        if folder is not None:
            dispatcher.enable_caching()
        for signature in signatures:
            dispatcher.compile(signature)
        # A call with other types would otherwise compile in the middle of a query.
        dispatcher.disable_compile()


def _private(folder: Path) -> Path | None:
    """The folder, if it is this user's alone: what is in it will be run as code."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError("others could write there")
        if not os.access(folder, os.W_OK):
            raise PermissionError("it is not writable")
    except OSError as error:
        log.warning("kernels are compiled at every start: %s: %s", folder, error)
        return None
    return folder


@contextmanager
def _turn(folder: Path | None) -> Iterator[None]:
    """Wait while another process compiles into this folder."""
    if folder is None:
        yield
        return
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
