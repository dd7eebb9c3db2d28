"""Commands that start servers on this machine leave none running, however they end."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_TERMINATED = 128 + signal.SIGTERM
_KILLED_S = 5.0


@contextmanager
def nothing_left_running() -> Iterator[None]:
    """Every process is stopped by who started it, on SIGTERM too; and those that are missed then,
    such as one that Ctrl-C met being started, at the end of the block.
    """
    # A server that does not stop in time is killed, and its workers are nobody's children then.
    seen: list[Any] = []

    def leave(*_: int | FrameType | None) -> None:
        # Once is enough: a second one must not break off what the first began.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        seen.extend(_descendants())
        sys.exit(_TERMINATED)

    # By default SIGTERM ends a process on the spot, and nobody would stop the servers.
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        _kill([*seen, *_descendants()])
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ends_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that it can stop what it started.

    Unlike `nothing_left_running` it leaves alone what the block has let go of.
    """

    def leave(number: int, _: FrameType | None) -> None:
        # Once is enough: a second one must not break off what the first began.
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    # Whoever is started with nohup must not hear of the terminal's end.
    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, leave) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _descendants() -> list[Any]:
    """Return all descendants of this process; none without psutil."""
    try:
        import psutil  # type: ignore[import-untyped]  # no stubs among our tools
    except ImportError:
        return []
    found: list[Any] = psutil.Process().children(recursive=True)
    return found


def _kill(processes: list[Any]) -> None:
    if not processes:
        return
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=_KILLED_S)
