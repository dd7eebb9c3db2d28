"""Party 1's part: holds queries until party 0 orders them, then runs them in party 0's order.

One thread a worker, so that the runs of a worker begin in the order in which they were ordered.
Sees one share of queries and answers, as bytes.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue

import grpc

from parties.party.queries.inbox import Inbox
from parties.party.queries.pending import PendingQuery, Waiters, settle
from parties.party.queries.runs import Runs
from parties.party.workers.processes import AnswerBytes, WorkerPool, WorkerProcess
from parties.serving.time_limit import ring_after
from privedge.errors import LimitExceeded, OutOfTime
from privedge.wire import peer_pb2 as pb


@dataclass(frozen=True)
class _Run:
    order: pb.StartRunRequest
    queries: list[PendingQuery]
    audience: Waiters


class _Slot:
    """What one worker has to do."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.queue: SimpleQueue[_Run | None] = SimpleQueue()
        self.last: _Run | None = None


class Follower:
    """The query half of party 1: desk.Side and desk.Ordered."""

    def __init__(self, pool: WorkerPool, runs: Runs, *, late_s: float) -> None:
        """`late_s`: party 0 orders the next run of a worker when its own part of the last one is
        over; then party 1's part is over within that many seconds, or it is given up.
        """
        self._runs = runs
        self._late_s = late_s
        self._inbox = Inbox()
        self._slots = [_Slot(worker) for worker in pool.workers]

    def start(self) -> None:
        """Begin to serve."""
        for slot in self._slots:
            # A daemon: it may be waiting for a worker that does not answer.
            name = f"slot {slot.worker.slot}"
            threading.Thread(target=self._follow, args=(slot,), name=name, daemon=True).start()

    def let_go(self) -> None:
        """End party 0's watch, which would go on for ever."""
        self._inbox.close()

    def stop(self) -> None:
        """Run nothing more."""
        for slot in self._slots:
            slot.queue.put(None)

    def answer(self, asked: PendingQuery) -> AnswerBytes:
        """Wait for the answer share. Raises what the query ends with."""
        asked.ready = asked.arrived  # as far as this party can know
        self._inbox.put(asked)
        try:
            return asked.wait()
        except OutOfTime:
            raise OutOfTime(f"query {asked.id}: not answered in time, or never ordered") from None
        finally:
            asked.leave()
            self._inbox.remove(asked)

    # --- What party 0 asks for --------------------------------------------------------------------

    def order(self, order: pb.StartRunRequest) -> list[bytes]:
        """Begin a run, or return the ids of the queries that are not here.

        Raises LimitExceeded for a worker this party has not, ManifestMismatch.
        """
        if order.worker >= len(self._slots):
            raise LimitExceeded("party 0 has more workers than this party; set `workers` alike")
        queries, missing = self._inbox.claim(order.queries)
        if queries:
            slot = self._slots[order.worker]
            if slot.last is not None:
                ring_after(self._late_s, slot.last.audience.dismiss)
            slot.last = _Run(order, queries, Waiters(queries))
            slot.queue.put(slot.last)
        return missing

    def refuse(self, query_id: bytes) -> None:
        """Refuse a query of which party 0 holds another half."""
        self._inbox.refuse(query_id)

    def changes(self, context: grpc.ServicerContext) -> Iterator[pb.HalvesChange]:
        """What is here, and every change."""
        return self._inbox.changes(context)

    # --- A thread for each worker -----------------------------------------------------------------

    def _follow(self, slot: _Slot) -> None:
        while (run := slot.queue.get()) is not None:
            try:
                self._runs.compute(slot.worker, run.order, run.queries, run.audience)
            except Exception as error:  # whatever it is, nobody must be left waiting
                settle(run.queries, error)
