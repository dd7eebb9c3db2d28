"""Turns of clients: whose query is next, and how many queries of one client a run may take.

The turns are those of start-time fair queuing: a client that keeps many queries waiting delays its
own, and never those of another client by more than a run.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from parties.party.queries.pending import PendingQuery

# For so long after its last query a client counts as one that may ask again.
_PRESENT_S = 10.0
# Forget clients of the past when there are more than this.
_MANY = 1024


@dataclass
class _Client:
    """`next_turn` is that of its next query; `most` it had waiting since it came."""

    next_turn: int = 0
    asked: float = 0.0
    waiting: set[str] = field(default_factory=set)
    most: int = 0


class Turns:
    """The turns of one queue. Its owner's lock protects it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._now = 0
        self._clients: dict[str, _Client] = {}

    def give(self, query: PendingQuery) -> None:
        """Set `query.turn`; a query with a lower one is computed earlier."""
        client, now = self._clients.setdefault(query.client, _Client()), self._clock()
        if not client.waiting and now > client.asked + _PRESENT_S:
            client.most = 0
        client.asked = now
        client.waiting.add(query.id)
        client.most = max(client.most, len(client.waiting))
        query.turn = max(self._now, client.next_turn)
        client.next_turn = query.turn + query.images
        if len(self._clients) > _MANY:
            self._forget()

    def end(self, query: PendingQuery) -> None:
        """The query waits no longer."""
        if client := self._clients.get(query.client):
            client.waiting.discard(query.id)

    def begin(self, queries: Sequence[PendingQuery]) -> None:
        """A run of these queries begins."""
        self._now = max(self._now, *(query.turn for query in queries))
        for query in queries:
            self.end(query)

    def first_of(self, queries: Sequence[PendingQuery]) -> list[PendingQuery]:
        """Return those of `queries` that may share a run, in order.

        Of one client there may be as many as any other client who is present had waiting at once,
        so that a client with few queries never waits for a run that is full of another's.
        """
        may = {client: self._share(client) for client in {query.client for query in queries}}
        taken: Counter[str] = Counter()
        chosen = []
        for query in queries:
            if taken[query.client] < may[query.client]:
                taken[query.client] += 1
                chosen.append(query)
        return chosen

    def _share(self, name: str) -> float:
        since = self._clock() - _PRESENT_S
        others = [
            client.most
            for other, client in self._clients.items()
            if other != name and (client.waiting or client.asked > since)
        ]
        return max(others, default=float("inf"))

    def _forget(self) -> None:
        since = self._clock() - _PRESENT_S
        self._clients = {
            name: client
            for name, client in self._clients.items()
            if client.waiting or client.asked > since or client.next_turn > self._now
        }
