"""Party 0's waiting lines, and which queries of a line are computed together.

A line holds queries of one kind that both parties have in full. Whoever has a free worker takes the
head of the line that has waited longest and as many behind it as fit into one run.
"""

import threading
import time
from collections.abc import Sequence

from parties.config import BatchingSection
from parties.party.queries.pending import Kind, PendingQuery


class BatchQueue:
    """All lines of one party. Safe to call from many threads."""

    def __init__(self, batching: BatchingSection, max_batch: int) -> None:
        """No run is larger than `max_batch` images, unless one query alone is."""
        self._delay_s = batching.delay_ms / 1000
        self._at_most = min(batching.max_images, max_batch)
        self._changed = threading.Condition()
        self._lines: dict[Kind, list[PendingQuery]] = {}
        self._closed = False

    def add(self, asked: PendingQuery) -> None:
        """To the end of its line, unless it is settled: then nobody would take it out."""
        with self._changed:
            if not asked.settled:
                self._lines.setdefault(asked.kind, []).append(asked)
                self._changed.notify_all()

    def put_back(self, queries: Sequence[PendingQuery]) -> None:
        """To the head of their line: queries of one kind that were taken and not run."""
        with self._changed:
            for asked in reversed(queries):
                if not asked.settled:
                    self._lines.setdefault(asked.kind, []).insert(0, asked)
            self._changed.notify_all()

    def remove(self, asked: PendingQuery) -> None:
        """Out of its line, once it is settled. Fine if it is in none."""
        with self._changed:
            line = self._lines.get(asked.kind, [])
            if asked in line:
                line.remove(asked)
                self._drop_if_empty(asked.kind)
                self._changed.notify_all()

    def take(self) -> list[PendingQuery] | None:
        """Wait for a run's worth of queries, in order; None after `close`."""
        with self._changed:
            while not self._closed:
                kind = min(self._lines, key=self._due, default=None)
                pause = None if kind is None else self._due(kind) - time.perf_counter()
                if kind is not None and pause is not None and pause <= 0:
                    return self._cut_off(kind)
                self._changed.wait(pause)
            return None

    def close(self) -> None:
        """Nobody gets anything from `take` any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _due(self, kind: Kind) -> float:
        """Until when the line waits for more."""
        line = self._lines[kind]
        came = line[0].ready or line[0].arrived
        full = line[0].alone or sum(asked.images for asked in line) >= self._at_most
        return came if full else came + self._delay_s

    def _cut_off(self, kind: Kind) -> list[PendingQuery]:
        line = self._lines[kind]
        count = together([asked.images for asked in line], self._at_most)
        taken, line[:count] = line[:count], []
        self._drop_if_empty(kind)
        return taken

    def _drop_if_empty(self, kind: Kind) -> None:
        if not self._lines[kind]:
            del self._lines[kind]


def together(images: Sequence[int], at_most: int) -> int:
    """How many queries of a line, with that many images each, one run takes.

    The most, from the first on, that have a power of two of images between them, at most
    `at_most`: what is prepared for a run is prepared for one number of images, so the numbers
    must be few. Otherwise the first alone, whatever it has.
    """
    taken, total = 1, 0
    for count, more in enumerate(images, start=1):
        total += more
        if total > at_most:
            break
        if total.bit_count() == 1:
            taken = count
    return taken
