"""Party 0's picture of what party 1 holds, so that only queries in full at both take a worker.

Sees ids and digests. Party 1 tells over one long call (WatchHalves), which starts over whenever it
is lost: each call begins with everything party 1 holds. Both say hello before it.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from parties.party.queries.pending import PendingQuery
from privedge.errors import ManifestMismatch, OutOfTime, Refused, Unreachable
from privedge.rpc.status import calls_to
from privedge.wire import peer_pb2 as pb
from privedge.wire import peer_pb2_grpc

log = logging.getLogger(__name__)

_PAUSE_S = 0.2


class Pairing:
    """Pairs this party's queries with party 1's halves. A thread of its own follows party 1."""

    def __init__(
        self,
        peer: peer_pb2_grpc.PeerStub,
        pair: Callable[[PendingQuery], None],
        *,
        half_s: float,
        greet: Callable[[Callable[[Any], Any]], object],
    ) -> None:
        """`pair` is called with each query that is in full at both parties; a query waits `half_s`
        seconds for the client's other half. `greet` is called on each new connection, before
        anything is known of party 1's halves; what it is given must see each call it begins.
        """
        self._greet = greet
        self._half_s = half_s
        self._peer = peer
        self._pair = pair
        self._lock = threading.Lock()
        self._here: dict[str, PendingQuery] = {}
        self._there: dict[str, bytes] = {}
        self._connected = False
        self._stopping = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(target=self._follow, name="other halves", daemon=True)

    def start(self) -> None:
        """Begin to follow party 1."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join()

    def expect(self, asked: PendingQuery) -> None:
        """Pair this query as soon as its other half is there, which may be now."""
        with self._lock:
            self._here[asked.id] = asked
            digest = self._there.get(asked.id)
        if digest is not None:
            self._compare(asked, digest)

    def forget(self, asked: PendingQuery) -> None:
        """The query is over."""
        with self._lock:
            self._here.pop(asked.id, None)
            self._there.pop(asked.id, None)

    def look(self, asked: PendingQuery) -> None:
        """Raises OutOfTime if the query has no other half and has waited long enough, Unreachable
        if party 1 cannot say so now.
        """
        if asked.ready is not None:
            return
        if not self._connected:
            raise Unreachable("party 1: cannot be reached; check that it is running")
        if time.perf_counter() - asked.arrived > self._half_s:
            raise OutOfTime(f"query {asked.id}: its other half did not arrive")

    def _compare(self, asked: PendingQuery, digest: bytes) -> None:
        if digest != asked.question.digest():
            asked.settle(
                ManifestMismatch(
                    f"query {asked.id}: its two halves differ in shape, question or cohort"
                )
            )
            return
        with self._lock:
            # After a lost call party 1 tells everything again.
            again, asked.ready = asked.ready is not None, asked.ready or time.perf_counter()
        if not again:
            self._pair(asked)

    # --- The thread -------------------------------------------------------------------------------

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                with calls_to("party 1"):
                    self._follow_once()
            except Refused as error:
                if not self._stopping.is_set():
                    log.warning("does not know what party 1 holds: %s", error)
            self._connected = False
            self._stopping.wait(_PAUSE_S)

    def _follow_once(self) -> None:
        self._greet(self._begun)
        call = self._begun(self._peer.WatchHalves(pb.WatchHalvesRequest(), wait_for_ready=True))
        for number, change in enumerate(call):
            if number == 0:
                with self._lock:
                    self._there.clear()
                self._connected = True
            self._apply(change)

    def _begun(self, call: Any) -> Any:
        """`call`, which `stop` will cancel."""
        self._call = call
        if self._stopping.is_set():
            call.cancel()
        return call

    def _apply(self, change: pb.HalvesChange) -> None:
        for half in change.arrived:
            query_id = half.query_id.hex()
            with self._lock:
                self._there[query_id] = half.header_sha256
                asked = self._here.get(query_id)
            if asked is not None:
                self._compare(asked, half.header_sha256)
        for raw in change.left:
            with self._lock:
                self._there.pop(raw.hex(), None)
                asked = self._here.get(raw.hex())
            if asked is not None:
                asked.settle(Unreachable("the client left party 1"))
