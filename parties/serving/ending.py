"""SIGTERM and SIGINT: a server ends in good order, whenever it is told to.

While it starts there is nothing to finish, so it leaves at once with status 0. Imports the standard
library only, so that `python -m parties` can call `leave_when_told` before anything that takes
time.
"""

import atexit
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import NoReturn

_NUMBERS = (signal.SIGTERM, signal.SIGINT)


class _Signals:
    """What this process was told. A signal may reach any thread: only the pipe wakes the main one,
    because Python runs handlers there, and not before it wakes.
    """

    def __init__(self) -> None:
        self._told = self._serving = False
        self._reads, self._writes = os.pipe()
        os.set_blocking(self._writes, False)
        signal.set_wakeup_fd(self._writes, warn_on_full_buffer=False)
        for number in _NUMBERS:
            signal.signal(number, self._tell)

    def wait(self) -> None:
        """Return when the process has been told, also if that was before."""
        self._serving = True
        if not self._told:
            os.read(self._reads, 1)

    def _tell(self, *_: object) -> None:
        self._told = True
        if not self._serving:
            raise SystemExit(0)


_signals: list[_Signals] = []


def leave_when_told() -> None:
    """From now on a signal ends this process with status 0, until it waits for one."""
    if not _signals:
        _signals.append(_Signals())


def wait_until_told() -> None:
    """Wait for SIGTERM or SIGINT. From now on they do nothing else than end this wait."""
    leave_when_told()
    _signals[0].wait()


def leave(status: int) -> NoReturn:
    """End this process once all that it began has ended, as at the end of a program.

    Only that the interpreter does not take itself apart first: with torch loaded that takes more
    than a second, in which a server that is restarted could begin again.
    """
    # What the interpreter would call: all threads that it would wait for have ended then.
    threading._shutdown()  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    # These write to standard error only, line by line.
    atexit._run_exitfuncs()
    os._exit(status)
