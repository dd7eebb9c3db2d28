"""Limit how many queries a server handles at once: of all clients, and of one client."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from privedge.errors import LimitExceeded


class AdmissionLimits(Protocol):
    """Two limits of a server's configuration file."""

    @property
    def max_queries(self) -> int:
        """Queries at once, of all clients."""

    @property
    def max_queries_per_client(self) -> int:
        """Queries at once, of one client."""


class Admission:
    """Counts queries from their first message until their answer is sent. Thread-safe."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._by_client: Counter[str] = Counter()
        self._all = 0

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Admit one query of `client` until the block ends. Raises LimitExceeded."""
        with self._lock:
            if self._all >= self._limits.max_queries:
                raise LimitExceeded("too many queries at once; see max_queries")
            if self._by_client[client] >= self._limits.max_queries_per_client:
                raise LimitExceeded("too many queries of one client; see max_queries_per_client")
            self._all += 1
            self._by_client[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._all -= 1
                self._by_client[client] -= 1
                if not self._by_client[client]:
                    del self._by_client[client]
