"""Party 0's picture of what party 1 holds, so that only queries that both hold use a worker.

Sees ids and digests. Party 1 tells over one long call (WatchHalves), which starts over whenever it
is lost: each call begins with everything party 1 holds. Both say hello before it.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from parties.party.edge.peer import PeerClient
from parties.party.queries.inbox import HeldChange
from parties.party.queries.pending import PendingQuery, mismatch
from privedge.errors import DeadlineExceeded, Refused, Unreachable
from privedge.identity.roles import Role
from privedge.rpc.status import calls_to

log = logging.getLogger(__name__)

_PAUSE_S = 0.2


class Pairing:
    """Pairs this party's queries with those of party 1. Safe to call from many threads.

    A thread of its own follows party 1.
    """

    def __init__(
        self,
        peer: PeerClient,
        pair: Callable[[PendingQuery], None],
        *,
        half_s: float,
        greet: Callable[[Callable[[Any], Any]], object],
        hear_damaged: Callable[[frozenset[str]], object] = lambda _: None,
    ) -> None:
        """`pair` is called with each query that is in full at both parties. A query waits `half_s`
        seconds for its other share. `greet` is called on each new connection, before anything is
        known of party 1's queries; it must pass each call that it begins to what it is given.
        `hear_damaged` is told which shares are damaged at party 1.
        """
        self._hear_damaged = hear_damaged
        self._greet = greet
        self._half_s = half_s
        self._peer = peer
        self._pair = pair
        self._lock = threading.Lock()
        self._here: dict[str, PendingQuery] = {}
        # Query id -> question digest, of all that party 1 holds.
        self._there: dict[str, bytes] = {}
        self._connected = False
        self._told = ""
        self._stopping = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(target=self._follow, name="pairing", daemon=True)

    def start(self) -> None:
        """Begin to follow party 1."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join()

    @property
    def connected(self) -> bool:
        """Whether party 1 tells now which queries it holds."""
        return self._connected

    def expect(self, query: PendingQuery) -> None:
        """Pair this query as soon as party 1 holds it, which may be now."""
        with self._lock:
            self._here[query.id] = query
            digest = self._there.get(query.id)
        if digest is not None:
            self._compare(query, digest)

    def forget(self, query: PendingQuery) -> None:
        """The query is over."""
        with self._lock:
            self._here.pop(query.id, None)
            self._there.pop(query.id, None)

    def look(self, query: PendingQuery) -> None:
        """Raises DeadlineExceeded if party 1 does not hold the query and it has waited long
        enough, and Unreachable if party 1 cannot say so now.
        """
        if query.ready is not None:
            return
        if not self._connected:
            raise Unreachable("party 1: cannot be reached; check that it is running")
        if time.perf_counter() - query.arrived > self._half_s:
            raise DeadlineExceeded(f"query {query.id}: its other share did not arrive")

    def _compare(self, query: PendingQuery, digest: bytes) -> None:
        if digest != query.ref.question_digest:
            query.settle(mismatch(query.id))
            return
        with self._lock:
            # After a lost call party 1 tells everything again.
            again, query.ready = query.ready is not None, query.ready or time.perf_counter()
        if not again:
            self._pair(query)

    # --- The thread -------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                with calls_to(Role.PARTY1.label):
                    self._follow_once()
            except Refused as error:
                # A refusal may last for hours: one line, not five a second.
                if not self._stopping.is_set() and str(error) != self._told:
                    self._told = str(error)
                    log.warning("does not know what party 1 holds: %s", error)
            self._connected = False
            self._stopping.wait(_PAUSE_S)

    def _follow_once(self) -> None:
        self._greet(self._begun)
        for number, change in enumerate(self._begun(self._peer.watch())):
            if number == 0:
                with self._lock:
                    self._there.clear()
                self._connected, self._told = True, ""
                if change.damaged is None:  # a release that does not say
                    self._hear_damaged(frozenset())
            self._apply(change)

    def _begun(self, call: Any) -> Any:
        """Return `call`, which `stop` will cancel."""
        self._call = call
        if self._stopping.is_set():
            call.cancel()
        return call

    def _apply(self, change: HeldChange) -> None:
        if change.damaged is not None:
            self._hear_damaged(change.damaged)
        for ref in change.arrived:
            with self._lock:
                self._there[ref.query_id] = ref.question_digest
                query = self._here.get(ref.query_id)
            if query is not None:
                self._compare(query, ref.question_digest)
        for query_id in change.left:
            with self._lock:
                self._there.pop(query_id, None)
                query = self._here.get(query_id)
            if query is not None:
                query.settle(Unreachable("the client left party 1"))
