"""Who may use the processor: one run at a time, and preparing only while no query is there."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_LOOK_AGAIN_S = 1.0
# Where one query follows another, randomness is dealt while they run: preparing it in the gaps
# between them would only take the processor from whoever comes next.
_QUIET_S = 0.05


class Scheduler:
    """Safe to call from several threads."""

    def __init__(self) -> None:
        # Not a thread's own: a rehearsal may end in another thread than it began in.
        self._running = threading.Lock()
        self._queries = 0
        self._quiet_at = 0.0
        self._left = threading.Condition()

    @contextmanager
    def query(self) -> Iterator[None]:
        """Wait for this query's turn. From now on nothing is prepared."""
        with self._left:
            self._queries += 1
        try:
            with self._running:
                yield
        finally:
            with self._left:
                self._queries -= 1
                self._quiet_at = time.monotonic() + _QUIET_S
                self._left.notify_all()

    @contextmanager
    def rehearsal(self) -> Iterator[bool]:
        """Whether it may run now; if not, a query is there."""
        free = not self._queries and self._running.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._running.release()

    def wait_idle(self, given_up: threading.Event) -> None:
        """Return when no query has been there for a moment, or when `given_up` is set."""
        with self._left:
            while not given_up.is_set():
                left = _LOOK_AGAIN_S if self._queries else self._quiet_at - time.monotonic()
                if left <= 0:
                    return
                self._left.wait(left)
