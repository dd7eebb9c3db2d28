"""A thread that does the same thing again and again, for as long as a part of a server lives."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Periodic:
    """Calls `work` every `every_s` seconds, and soon after each `wake`. Thread-safe.

    What `work` raises is logged, once for a series of the same kind, and the calls go on.
    """

    def __init__(self, name: str, work: Callable[[], object], every_s: float) -> None:
        """`name` is the thread's, for the log."""
        self._name, self._work, self._every_s = name, work, every_s
        self._wake, self._stopping = threading.Event(), threading.Event()
        # The kind of error of the last call, which is logged once.
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after `every_s` seconds."""
        self._thread.start()

    def wake(self) -> None:
        """Call `work` soon; does not wait."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread, and wait until `work` has returned."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def stopping(self, within_s: float = 0) -> bool:
        """Whether it is told to stop, or will be within so many seconds: `work` waits with this."""
        return self._stopping.wait(within_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(self._every_s)
            self._wake.clear()
            if self._stopping.is_set():
                return
            self._try()

    def _try(self) -> None:
        failed = ""
        try:
            self._work()
        except Exception as error:  # whatever it is, this thread must go on
            # Its kind only: the text of an error may say more than a log should.
            failed = type(error).__name__
            if failed != self._failed:
                log.error("%s failed, and will be tried again: %s", self._name, failed)
        self._failed = failed
