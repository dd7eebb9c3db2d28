"""Party 0's part: waits until both parties hold a query, and decides what runs when.

One thread a worker takes what waits in the lines, orders it at party 1 and lets the worker begin at
once. Sees one share of queries and answers, as bytes.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import grpc

from parties.config import PartyConfig
from parties.party.edge.hello import Hello
from parties.party.models.service import ModelService
from parties.party.queries.batch_queue import BatchQueue
from parties.party.queries.pairing import Pairing
from parties.party.queries.pending import PendingQuery, Waiters, settle
from parties.party.queries.runs import Runs
from parties.party.workers.processes import AnswerBytes, WorkerPool, WorkerProcess
from privedge.errors import ManifestMismatch, OutOfTime, Refused, Unreachable
from privedge.rpc.status import calls_to
from privedge.wire import peer_pb2, peer_pb2_grpc

_SESSION_BYTES = 16
_PEER = "party 1"


class Leader:
    """The query half of party 0: desk.Side."""

    def __init__(
        self,
        config: PartyConfig,
        models: ModelService,
        pool: WorkerPool,
        runs: Runs,
        peer: peer_pb2_grpc.PeerStub,
        hello: Hello,
    ) -> None:
        self._models = models
        self._runs = runs
        self._peer = peer
        self._order_s = config.timeouts.order_s
        self._lines = BatchQueue(config.batching, config.limits.max_batch)
        self._handshake = hello.handshake
        self._halves = Pairing(
            peer,
            self._lines.add,
            half_s=config.timeouts.half_s,
            greet=partial(hello.to_party, peer),
        )
        self._threads = [
            threading.Thread(target=self._lead, args=(worker,), name=f"slot {worker.slot}")
            for worker in pool.workers
        ]

    def start(self) -> None:
        """Begin to serve."""
        self._halves.start()
        for thread in self._threads:
            thread.daemon = True  # it may be waiting for a worker that does not answer
            thread.start()

    def let_go(self) -> None:
        """Nothing: every call to party 0 ends by itself."""

    def stop(self) -> None:
        """Order nothing more."""
        self._lines.close()
        self._halves.stop()

    def answer(self, asked: PendingQuery) -> AnswerBytes:
        """Wait for the answer share. Raises what the query ends with."""
        self._halves.expect(asked)
        try:
            return asked.wait(lambda: self._look(asked))
        except (ManifestMismatch, OutOfTime) as error:
            # Party 1 may have refused its half because it lacks the newest list of models.
            self._models.behind.set()
            if isinstance(error, ManifestMismatch) and asked.ready is None:
                self._refuse(asked)
            raise
        finally:
            asked.leave()
            self._halves.forget(asked)
            self._lines.remove(asked)

    def _look(self, asked: PendingQuery) -> None:
        """Raises why waiting makes no sense any more: the other half, or terms that differ now."""
        if asked.ready is None:
            self._handshake.require(asked.question.cohort)
        self._halves.look(asked)

    def _refuse(self, asked: PendingQuery) -> None:
        # In vain if party 1 is away; then the client learns of that.
        with suppress(Refused), calls_to(_PEER):
            self._peer.RefuseHalf(
                peer_pb2.RefuseHalfRequest(query_id=bytes.fromhex(asked.id)), timeout=self._order_s
            )

    # --- A thread for each worker -----------------------------------------------------------------

    def _lead(self, worker: WorkerProcess) -> None:
        while (queries := self._lines.take()) is not None:
            audience = Waiters(queries)
            try:
                order = _order(worker, queries)
                placed = _Placed(self._peer, order, audience, self._order_s)
            except Exception as error:  # whatever it is, nobody must be left waiting
                settle(queries, error)
                continue
            try:
                self._runs.compute(worker, order, queries, audience)
            except Exception as error:
                self._failed(queries, placed, error)

    def _failed(self, queries: Sequence[PendingQuery], placed: "_Placed", error: Exception) -> None:
        """What party 1 said explains more than `error`, which may be no more than its consequence.
        If clients have left party 1, the other queries are in their line again.
        """
        try:
            gone = placed.gone()
        except Exception as refusal:
            settle(queries, refusal)
            return
        if not gone:
            settle(queries, error)
            return
        settle(
            [asked for asked in queries if asked.id in gone], Unreachable("the client left party 1")
        )
        self._lines.put_back(queries)


class _Placed:
    """An order on its way to party 1. This party's worker begins meanwhile; it is given up if party
    1 does not run the order.
    """

    def __init__(
        self,
        peer: peer_pb2_grpc.PeerStub,
        order: peer_pb2.StartRunRequest,
        audience: Waiters,
        order_s: float,
    ) -> None:
        """Party 1 answers within `order_s` seconds, or not at all."""
        self._ids = {half.query_id.hex() for half in order.queries}
        self._audience = audience
        self._call = peer.StartRun.future(order, timeout=order_s)
        self._call.add_done_callback(self._look)

    def gone(self) -> set[str]:
        """The queries that party 1 holds no more: if there are any, it runs none. Raises what it
        refused, ManifestMismatch, Unreachable.
        """
        with calls_to(_PEER):
            gone = {raw.hex() for raw in self._call.result().missing}
        if not gone <= self._ids:
            raise ManifestMismatch("party 1 misses queries that were not ordered")
        return gone

    def _look(self, _: object) -> None:
        if self._call.code() is not grpc.StatusCode.OK or self._call.result().missing:
            self._audience.dismiss()


def _order(worker: WorkerProcess, queries: Sequence[PendingQuery]) -> peer_pb2.StartRunRequest:
    return peer_pb2.StartRunRequest(
        session=os.urandom(_SESSION_BYTES),
        worker=worker.slot,
        queries=[
            peer_pb2.Half(query_id=bytes.fromhex(asked.id), header_sha256=asked.question.digest())
            for asked in queries
        ],
    )
