"""A front end's counters since its start."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from parties.party.queries.unaudited import Unaudited


@dataclass(frozen=True)
class QueryCounters:
    """All counters at one moment, for operators."""

    answered: int
    failed: int
    running: int
    runs: int
    bytes_received: int
    worker_pids: tuple[int, ...]


class Counters:
    """Safe to call from many threads."""

    def __init__(self) -> None:
        self.unaudited = Unaudited()
        self._lock = threading.Lock()
        self._answered = self._failed = self._running = self._runs = self._bytes = 0

    @contextmanager
    def query(self) -> Iterator[None]:
        """Count one query, as failed if the block raises and else as answered."""
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
        """Count `queries` as running during the block, and one run if it raises nothing."""
        with self._lock:
            self._running += queries
        try:
            yield
            with self._lock:
                self._runs += 1
        finally:
            with self._lock:
                self._running -= queries

    def busy(self) -> bool:
        """Whether a query runs now."""
        with self._lock:
            return self._running > 0

    def received(self, count: int) -> None:
        """Count bytes of queries."""
        with self._lock:
            self._bytes += count

    def read(self, worker_pids: tuple[int, ...]) -> QueryCounters:
        """The counters now, with the processes that serve."""
        with self._lock:
            return QueryCounters(
                answered=self._answered,
                failed=self._failed,
                running=self._running,
                runs=self._runs,
                bytes_received=self._bytes,
                worker_pids=worker_pids,
            )
