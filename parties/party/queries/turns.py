"""Turns of clients: whose query is next, and how many queries of one client a run may take.

The turns are those of start-time fair queuing: a client that keeps many queries waiting delays its
own, and never those of another client by more than a run.

A client crowds while it has more waiting than any other client who is present, and none of those is
behind it. It then rests between its runs, and has runs of its own, so that the others mostly find
the parties idle, with randomness prepared ahead.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from math import inf

from parties.party.queries.pending import PendingQuery

# For so long after its last query a client counts as one that may ask again.
_PRESENT_S = 10.0
# A client that crowds rests for as long as its run took. In no less than this, randomness is
# prepared for the next runs (parties/worker/scheduler.py).
_LEAST_REST_S = 0.1
# Forget clients of the past when there are more than this.
_MANY = 1024


@dataclass
class _Client:
    """`next_turn` is that of its next query. It had `most` waiting at once at the time `peak`.

    While it crowds, no run of it begins before `rests_until`.
    """

    next_turn: int = 0
    rests_until: float = 0.0
    asked: float = 0.0
    waiting: set[str] = field(default_factory=set)
    most: int = 0
    peak: float = 0.0


class Turns:
    """The turns of one queue. Its owner's lock protects it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # The turn that is served, and the one after all that were given.
        self._now = self._end = 0
        self._waiting = 0
        self._clients: dict[str, _Client] = {}

    def give(self, query: PendingQuery) -> None:
        """Set `query.turn`; a query with a lower one is computed earlier."""
        client, now = self._clients.setdefault(query.client, _Client()), self._clock()
        client.asked = now
        client.waiting.add(query.id)
        self._waiting += 1
        if len(client.waiting) >= client.most or now > client.peak + _PRESENT_S:
            client.most, client.peak = len(client.waiting), now
        query.turn = max(self._now, client.next_turn)
        client.next_turn = query.turn + query.images
        self._end = max(self._end, client.next_turn)
        if len(self._clients) > _MANY:
            self._forget()

    def end(self, query: PendingQuery) -> None:
        """The query waits no longer."""
        client = self._clients.get(query.client)
        if client is not None and query.id in client.waiting:
            client.waiting.remove(query.id)
            self._waiting -= 1

    def begin(self, queries: Sequence[PendingQuery]) -> None:
        """A run of these queries begins."""
        self._now = max(self._now, *(query.turn for query in queries))
        for query in queries:
            self.end(query)
        if not self._waiting:  # nobody is behind anybody else any more
            self._now = self._end

    def ran(self, queries: Sequence[PendingQuery], seconds: float) -> None:
        """A run of these queries took so long, and is over."""
        until = self._clock() + max(_LEAST_REST_S, seconds)
        for name in {query.client for query in queries} & self._clients.keys():
            self._clients[name].rests_until = until

    def rest_s(self, queries: Sequence[PendingQuery]) -> float:
        """Seconds until one of these, in order, may begin; 0 if one may now."""
        crowding = self._crowding(queries)
        if any(query.client not in crowding for query in queries):
            return 0.0
        return min(map(self._rest_s, crowding), default=0.0)

    def may_begin(self, queries: Sequence[PendingQuery]) -> list[PendingQuery]:
        """Return those of `queries` whose client does not rest now, in order."""
        resting = {name for name in self._crowding(queries) if self._rest_s(name)}
        return [query for query in queries if query.client not in resting]

    def first_of(self, queries: Sequence[PendingQuery]) -> list[PendingQuery]:
        """Return those of `queries` that may share a run, in order.

        Of one client there may be as many as any other client who is present had waiting at once,
        so that a client with few queries never waits for a run that is full of another's. Nobody
        shares one with a client that crowds.
        """
        if len(queries) == 1:
            return list(queries)
        crowding, head = self._crowding(queries), queries[0].client
        queries = [
            query
            for query in queries
            if query.client == head or not crowding & {query.client, head}
        ]
        may = self._shares({query.client for query in queries})
        taken: Counter[str] = Counter()
        chosen = []
        for query in queries:
            if taken[query.client] < may[query.client]:
                taken[query.client] += 1
                chosen.append(query)
        return chosen

    def _rest_s(self, name: str) -> float:
        return max(0.0, self._clients[name].rests_until - self._clock())

    def _crowding(self, queries: Sequence[PendingQuery]) -> set[str]:
        """Those clients of these queries, in order, that crowd."""
        first = {query.client: query.turn for query in reversed(queries)}
        many = {
            name: len(client.waiting)
            for name, turn in first.items()
            if turn > self._now
            and (client := self._clients.get(name)) is not None
            and len(client.waiting) > 1
        }
        shares = self._shares(set(many)) if many else {}
        return {name for name, waiting in many.items() if waiting > shares[name]}

    def _shares(self, names: set[str]) -> dict[str, float]:
        """For each client, the most that any other present one had waiting; infinity for none."""
        present = {
            name: client.most for name, client in self._clients.items() if self._here(client)
        }
        busiest = nlargest(2, present, key=present.__getitem__)
        return {
            name: max((present[other] for other in busiest if other != name), default=inf)
            for name in names
        }

    def _here(self, client: _Client) -> bool:
        return bool(client.waiting) or client.asked > self._clock() - _PRESENT_S

    def _forget(self) -> None:
        self._clients = {
            name: client
            for name, client in self._clients.items()
            if self._here(client) or client.next_turn > self._now
        }
