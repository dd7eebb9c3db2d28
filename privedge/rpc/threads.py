"""Threads for calls: one is made when all others are busy, and ends after some idle seconds.

An executor of the standard library keeps every thread that it ever had. How many there may be is
not decided here: rpc/admission.py bounds the calls.
"""

import atexit
import logging
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

log = logging.getLogger(__name__)

Work = Callable[[], object]

_IDLE_S = 20.0
# How long the end of the process waits for work that has begun.
_LAST_S = 5.0


class Threads:
    """Runs pieces of work beside each other. Safe to call from many threads."""

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        """A thread without work for `idle_s` seconds ends."""
        self._idle_s = idle_s
        self._changed = threading.Condition()
        # The last one is the one that worked last, so those that are too many become idle.
        self._idle: list[SimpleQueue[Work]] = []
        self._busy = 0

    def run(self, work: Work) -> None:
        """Run `work` in a thread of its own, without waiting for it.

        What `work` raises is logged, by type only. Raises RuntimeError if the system has no more
        threads.
        """
        with self._changed:
            if self._idle:
                self._busy += 1
                self._idle.pop().put(work)
                return
            # A daemon, so that the end of the process need not wait for idle ones.
            threading.Thread(target=self._work, args=(work,), name="rpc", daemon=True).start()
            self._busy += 1

    def wait_idle(self, within_s: float) -> None:
        """Return when no work is left, or after `within_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, within_s)

    def _work(self, work: Work) -> None:
        mine: SimpleQueue[Work] = SimpleQueue()
        following: Work | None = work
        while following is not None:
            try:
                following()
            except BaseException as error:  # the thread must be counted, and serve others
                log.error("a call ended with %s", type(error).__name__)
            following = None  # whatever it holds is not needed any more
            with self._changed:
                self._busy -= 1
                self._idle.append(mine)
                self._changed.notify_all()
            following = self._next(mine)

    def _next(self, mine: SimpleQueue[Work]) -> Work | None:
        try:
            return mine.get(timeout=self._idle_s)
        except Empty:
            with self._changed:
                if mine in self._idle:
                    self._idle.remove(mine)
                    return None
            return mine.get()  # work was on its way


threads = Threads()
atexit.register(threads.wait_idle, _LAST_S)
