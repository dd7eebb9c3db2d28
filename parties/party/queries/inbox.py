"""Party 1's inbox: queries that have arrived in full here and wait for party 0's order.

Party 0 watches the inbox (WatchHalves) and orders only queries that it has seen here and holds
itself. Sees one share of each query, as bytes.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from parties.party.queries.pending import PendingQuery, QueryRef, mismatch
from privedge.errors import ManifestMismatch
from privedge.rpc.server import MayLeave


@dataclass(frozen=True)
class HeldChange:
    """Queries that arrived at party 1, and ids of those that left, since the change before.

    damaged: ids of all models whose share is damaged at party 1; None if that has not changed.
    """

    arrived: tuple[QueryRef, ...] = ()
    left: tuple[str, ...] = ()
    damaged: frozenset[str] | None = None


class Inbox:
    """Queries by id, and what changed since party 0 was last told. Many threads may call it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: dict[str, PendingQuery] = {}
        self._arrived: list[QueryRef] = []
        self._left: list[str] = []
        self._damaged: frozenset[str] = frozenset()
        self._damaged_is_new = False
        # The number of the present watcher, and whether it still watches.
        self._watcher = 0
        self._watched = False

    def put(self, query: PendingQuery) -> None:
        """Hold a query until it is claimed or removed."""
        with self._changed:
            self._held[query.id] = query
            if self._watched:
                self._arrived.append(query.ref)
                self._changed.notify_all()

    def remove(self, query: PendingQuery) -> None:
        """Drop a query whose client has left. Nothing happens if it was claimed."""
        with self._changed:
            held = self._held.pop(query.id, None)
            if held is not None and self._watched:
                self._left.append(query.id)
                self._changed.notify_all()

    def claim(self, refs: Sequence[QueryRef]) -> tuple[list[PendingQuery], tuple[str, ...]]:
        """Take all these queries out, in order; or none, and return the ids that are not here.

        Raises ManifestMismatch, here and to each of the clients, if party 0 has another question,
        or would compute queries of different kinds together.
        """
        with self._changed:
            missing = tuple(ref.query_id for ref in refs if ref.query_id not in self._held)
            if missing:
                return [], missing
            claimed = [self._held.pop(ref.query_id) for ref in refs]
        same = all(ref == query.ref for ref, query in zip(refs, claimed, strict=True))
        if not same or len({query.kind for query in claimed}) != 1:
            for query in claimed:
                query.settle(mismatch(query.id))
            raise ManifestMismatch("a run: the parties hold different questions")
        return claimed, ()

    def refuse(self, query_id: str) -> None:
        """End a query, because party 0 holds another question of that id. Nothing happens if it is
        not here.
        """
        with self._changed:
            query = self._held.get(query_id)
        if query is not None:
            query.settle(mismatch(query_id))

    def say_damaged(self, model_ids: frozenset[str]) -> None:
        """From now on the shares of these models are damaged here, and no others."""
        with self._changed:
            self._damaged, self._damaged_is_new = model_ids, True
            self._changed.notify_all()

    def changes(self, watcher: MayLeave) -> Iterator[HeldChange]:
        """Give all that is here at once, then every change, until the watcher leaves or another one
        comes.
        """
        with self._changed:
            self._watcher += 1
            self._watched = True
            number = self._watcher
            self._arrived = [query.ref for query in self._held.values()]
            self._left, self._damaged_is_new = [], True
            self._changed.notify_all()
            first = self._news()
        if watcher.add_callback(lambda: self._end(number)):
            yield first
            yield from iter(lambda: self._next(number), None)

    def close(self) -> None:
        """End the present watch, whose call would keep the server from ending."""
        self._end(self._watcher)

    def _next(self, watcher: int) -> HeldChange | None:
        with self._changed:
            while self._watched and self._watcher == watcher:
                if self._arrived or self._left or self._damaged_is_new:
                    return self._news()
                self._changed.wait()
            return None

    def _news(self) -> HeldChange:
        damaged = self._damaged if self._damaged_is_new else None
        change = HeldChange(tuple(self._arrived), tuple(self._left), damaged)
        self._arrived, self._left, self._damaged_is_new = [], [], False
        return change

    def _end(self, watcher: int) -> None:
        with self._changed:
            if self._watcher == watcher:
                self._watched = False
                # Nobody reads them: the next watcher starts from what is held.
                self._arrived, self._left = [], []
                self._changed.notify_all()
