"""Compile all kernels before a server says that it is ready, and keep them on disk.

numba compiles Python loops for the processor that it finds: AVX2, AVX-512 or Arm. Kernels work on
uint64, because LLVM assumes that numba's signed products never overflow.

    1.  a module marks its loops with `kernel`, which compiles nothing yet
    2.  `prepare` compiles them all, or loads what an earlier start compiled
    3.  from then on `ready.usable` is true, and no call can start the compiler
"""

import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numba

from parties.mpc.compiled import cache
from parties.mpc.compiled.ready import State

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


def prepare(folder: Path | None = None) -> None:
    """Compile every kernel, or load it from `folder`; None means `cache.folder()`.

    The first start takes some ten seconds, others less than one. If the folder cannot be used, or
    what is in it is damaged, the log says so, and the start compiles. Servers that start at once
    compile one after another.
    """
    if State.compiled:
        return
    started = time.perf_counter()
    kept = _private(folder or cache.folder())
    with _turn(kept):
        _compile(kept)
    choice = import_module(f"{__package__}.choice")
    State.torch_is_faster = choice.torch_is_faster()
    State.compiled = True
    if any(sum(dispatcher.stats.cache_misses.values()) for dispatcher, _ in _kernels):
        log.info("kernels compiled in %.0f s", time.perf_counter() - started)


def _compile(folder: Path | None) -> None:
    if folder is not None:
        if not cache.is_sound(folder):
            log.warning(
                "the kernels in %s are damaged or incomplete; they are compiled anew", folder
            )
            cache.clear(folder)
        numba.config.CACHE_DIR = str(folder)
    for name in _MODULES:
        import_module(f"{__package__}.{name}")
    kept = [_compile_one(*each, cached=folder is not None) for each in _kernels]
    if folder is not None and any(sum(each.stats.cache_misses.values()) for each, _ in _kernels):
        _seal(folder, all(kept))


def _compile_one(dispatcher: Any, signatures: tuple[str, ...], cached: bool) -> bool:
    """Compile one kernel or load it; whether it could be kept."""
    kept = True
    if cached:
        dispatcher.enable_caching()
    for signature in signatures:
        had = len(dispatcher.signatures)
        try:
            dispatcher.compile(signature)
        except OSError:
            # numba keeps a kernel after it has compiled it, and may find the disk full.
            if len(dispatcher.signatures) == had:
                raise
            kept = False
    # A call with other types would otherwise compile in the middle of a query.
    dispatcher.disable_compile()
    return kept


def _seal(folder: Path, kept: bool) -> None:
    try:
        if kept:
            cache.seal(folder)
            return
        cache.clear(folder)
    except OSError:
        pass  # not sealed, so the next start compiles
    log.warning("kernels could not be kept in %s, perhaps for want of room", folder)


def _private(folder: Path) -> Path | None:
    """The folder, if it can be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        why = cache.fault_of(folder)
    except OSError as error:
        why = error.strerror or "cannot be made"
    if why:
        log.warning("kernels are compiled at every start: %s: %s", folder, why)
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
