"""Stop the servers that a command has started on this machine, however the command ends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_TERMINATED = 128 + signal.SIGTERM
# Windows has no SIGHUP.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_KILLED_S = 5.0


@contextmanager
def nothing_left_running() -> Iterator[None]:
    """Make sure that no process which the block has started outlives it.

    SIGTERM ends the block, so that the code which started a process can stop it. The end of the
    block kills every process that is left, such as one that was being started during a Ctrl-C.
    """
    # A program that calls the command may have processes of its own.
    others = _children()
    # A server that does not stop in time is killed. Then its workers are no longer descendants of
    # this process, so they are listed before.
    seen: list[Any] = []

    def leave(*_: int | FrameType | None) -> None:
        # A second signal must not interrupt the cleanup that the first one began.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        seen.extend(_family(others))
        sys.exit(_TERMINATED)

    # By default SIGTERM ends a process at once, and its servers would keep running.
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        _kill([*seen, *_family(others)])
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ends_in_order() -> Iterator[None]:
    """End the block on SIGTERM and SIGHUP as on Ctrl-C, so that it can stop what it started.

    Unlike `nothing_left_running`, it does not kill the processes that the block has left running.
    """

    def leave(number: int, _: FrameType | None) -> None:
        # A second signal must not interrupt the cleanup that the first one began.
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    # A command started with nohup ignores SIGHUP, and must go on ignoring it.
    heard = [number for number in _ENDING if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _children() -> list[Any]:
    """Return the processes that this one has started; none without psutil."""
    try:
        import psutil  # type: ignore[import-untyped]  # no stubs among our tools
    except ImportError:
        return []
    found: list[Any] = psutil.Process().children()
    return found


def _family(others: list[Any]) -> list[Any]:
    """Return all descendants of this process, but for its children `others` and theirs."""
    own = [child for child in _children() if child not in others]
    return [each for child in own for each in (child, *_below(child))]


def _below(process: Any) -> list[Any]:
    import psutil

    try:
        found: list[Any] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def _kill(processes: list[Any]) -> None:
    if not processes:
        return
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=_KILLED_S)
