"""Party 0's queues of queries, and which queries of a queue are computed together.

A queue holds queries of one kind that both parties have in full, by turns of their clients. A free
worker takes the head of the queue whose turn it is, and as many behind it as fit into one run.
"""

import threading
import time
from bisect import insort_left, insort_right
from collections.abc import Sequence
from operator import attrgetter

from parties.config.sections import BatchingSection
from parties.party.queries.pending import Kind, PendingQuery
from parties.party.queries.turns import Turns

_turn = attrgetter("turn")


class BatchQueue:
    """All queues of one party. Safe to call from many threads."""

    def __init__(self, batching: BatchingSection, max_batch: int) -> None:
        """No run has more than `max_batch` images, unless one query alone has."""
        self._delay_s = batching.delay_ms / 1000
        self._max_images = min(batching.max_images, max_batch)
        self._changed = threading.Condition()
        self._queues: dict[Kind, list[PendingQuery]] = {}
        self._turns = Turns()
        self._closed = False

    def add(self, query: PendingQuery) -> None:
        """Put a query into its queue, unless it is settled: nobody would take it out."""
        with self._changed:
            if not query.settled:
                self._turns.give(query)
                insort_right(self._queues.setdefault(query.kind, []), query, key=_turn)
                self._changed.notify_all()

    def put_back(self, queries: Sequence[PendingQuery]) -> None:
        """Put queries of one kind, which were taken and not run, back to their old turns."""
        with self._changed:
            for query in reversed(queries):
                if not query.settled:
                    insort_left(self._queues.setdefault(query.kind, []), query, key=_turn)
            self._changed.notify_all()

    def remove(self, query: PendingQuery) -> None:
        """Take a settled query out of its queue. Nothing happens if it is in none."""
        with self._changed:
            self._turns.end(query)
            queue = self._queues.get(query.kind, [])
            if query in queue:
                queue.remove(query)
                self._drop_if_empty(query.kind)
                self._changed.notify_all()

    def take(self) -> list[PendingQuery] | None:
        """Wait for a run's worth of queries, in order; None after `close`."""
        with self._changed:
            while not self._closed:
                now = time.perf_counter()
                due = {kind: self._due(kind, now) for kind in self._queues}
                ready = [kind for kind, at in due.items() if at <= now]
                if ready:
                    return self._cut_off(min(ready, key=lambda kind: self._free(kind)[0].turn))
                self._changed.wait(min(due.values()) - now if due else None)
            return None

    def ran(self, queries: Sequence[PendingQuery], seconds: float) -> None:
        """A run of these queries took so long, and is over."""
        with self._changed:
            self._turns.ran(queries, seconds)

    def close(self) -> None:
        """From now on `take` returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _due(self, kind: Kind, now: float) -> float:
        """Until when this queue waits: for the rest of a client to end, or for more queries."""
        if rest_s := self._turns.rest_s(self._queues[kind]):
            return now + rest_s
        free = self._free(kind)
        came = min(query.ready or query.arrived for query in free)
        full = free[0].alone or sum(query.images for query in free) >= self._most(kind)
        return came if full else came + self._delay_s

    def _most(self, kind: Kind) -> int:
        """The most images of a run: fewer where one model is large."""
        return self._queues[kind][0].snapshot.cohort.rows(self._max_images)

    def _free(self, kind: Kind) -> list[PendingQuery]:
        return self._turns.may_begin(self._queues[kind])

    def _cut_off(self, kind: Kind) -> list[PendingQuery]:
        queue = self._queues[kind]
        chosen = self._turns.first_of(self._free(kind))
        taken = chosen[: together([query.images for query in chosen], self._most(kind))]
        self._turns.begin(taken)
        for query in taken:
            queue.remove(query)
        self._drop_if_empty(kind)
        return taken

    def _drop_if_empty(self, kind: Kind) -> None:
        if not self._queues[kind]:
            del self._queues[kind]


def together(images: Sequence[int], max_images: int) -> int:
    """How many queries of a queue one run takes, given how many images each of them has.

    It is the most, from the first on, whose images add up to a power of two and to no more than
    `max_images`: a bundle fits one number of images, so there must be few such numbers. If there is
    none, it is the first query alone, however many images it has.
    """
    taken, total = 1, 0
    for count, more in enumerate(images, start=1):
        total += more
        if total > max_images:
            break
        if total.bit_count() == 1:
            taken = count
    return taken
