"""Who may use the processor: one run at a time, and preprocessing only while there is no query."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from parties.worker.cancellation import Cancellation

_LOOK_AGAIN_S = 1.0
# Where one query follows another, tuples are dealt while they run. Preprocessing in the gaps
# between them would only delay the next query.
_QUIET_S = 0.05
# For so long a query waits for a rehearsal, which may hang with the other party.
_PATIENCE_S = 5.0


class Scheduler:
    """Safe to call from several threads."""

    def __init__(self) -> None:
        # No thread owns this lock: a rehearsal may end in another thread than it began in.
        self._running = threading.Lock()
        self._rehearsing = Cancellation()
        self._queries = 0
        self._quiet_at = 0.0
        self._left = threading.Condition()

    @contextmanager
    def query(self) -> Iterator[None]:
        """Wait for this query's turn. No preprocessing begins from now on."""
        with self._left:
            self._queries += 1
        try:
            if not self._running.acquire(timeout=_PATIENCE_S):
                self._rehearsing.cancel()
                self._running.acquire()
            try:
                yield
            finally:
                self._running.release()
        finally:
            with self._left:
                self._queries -= 1
                self._quiet_at = time.monotonic() + _QUIET_S
                self._left.notify_all()

    @contextmanager
    def rehearsal(self) -> Iterator[Cancellation | None]:
        """What ends the rehearsal that may run now; None while there is a query."""
        if self._queries or not self._running.acquire(blocking=False):
            yield None
            return
        turn = self._rehearsing = Cancellation()
        try:
            yield turn
        finally:
            self._running.release()

    def wait_idle(self, cancelled: threading.Event) -> None:
        """Wait until there has been no query for a moment, or `cancelled` is set."""
        with self._left:
            while not cancelled.is_set():
                left = _LOOK_AGAIN_S if self._queries else self._quiet_at - time.monotonic()
                if left <= 0:
                    return
                self._left.wait(left)
