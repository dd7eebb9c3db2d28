"""A front end's counters since start."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from parties.party.queries.desk import QueryCounters


class Counters:
    """Safe to count in from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered = self._failed = self._running = self._runs = self._bytes = 0

    @contextmanager
    def query(self) -> Iterator[None]:
        """One query, answered or failed as the block ends."""
        try:
            yield
        except BaseException:
            with self._lock:
                self._failed += 1
            raise
        with self._lock:
            self._answered += 1

    @contextmanager
    def run(self, queries: int) -> Iterator[None]:
        """While that many queries hold a worker together."""
        with self._lock:
            self._running += queries
        try:
            yield
            with self._lock:
                self._runs += 1
        finally:
            with self._lock:
                self._running -= queries

    def received(self, count: int) -> None:
        """That many bytes of queries."""
        with self._lock:
            self._bytes += count

    def read(self, worker_pids: tuple[int, ...]) -> QueryCounters:
        """The counters as they are now."""
        with self._lock:
            return QueryCounters(
                answered=self._answered,
                failed=self._failed,
                running=self._running,
                runs=self._runs,
                bytes_received=self._bytes,
                worker_pids=worker_pids,
            )
