"""Party 0's part: it waits until both parties hold a query, and decides what runs when.

Each worker has a thread, which takes queries from the queue, orders their run at party 1, and lets
the worker begin at once. Sees one share of queries and answers, as bytes.
"""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from parties.config.party import PartyConfig
from parties.party.edge.hello import Hello
from parties.party.edge.peer import PeerClient, PlacedRun
from parties.party.models.service import ModelService
from parties.party.queries.batch_queue import BatchQueue
from parties.party.queries.pairing import Pairing
from parties.party.queries.pending import PendingQuery, Run, Waiters, settle
from parties.party.queries.runs import Runs
from parties.party.workers.messages import AnswerBytes
from parties.party.workers.processes import WorkerPool, WorkerProcess
from privedge.errors import DeadlineExceeded, ManifestMismatch, Refused, Unreachable
from privedge.log import about

_SESSION_BYTES = 16


class Leader:
    """Party 0's queries. Safe to call from many threads."""

    def __init__(
        self,
        config: PartyConfig,
        models: ModelService,
        pool: WorkerPool,
        runs: Runs,
        peer: PeerClient,
        hello: Hello,
    ) -> None:
        self._models = models
        self._runs = runs
        self._peer = peer
        self._order_s = config.timeouts.order_s
        self._batch_queue = BatchQueue(config.batching, config.limits.max_batch)
        self._handshake = hello.handshake
        self._pairing = Pairing(
            peer,
            self._batch_queue.add,
            half_s=config.timeouts.half_s,
            greet=partial(hello.to_party, peer.stub),
            hear_damaged=models.quarantine.hear,
        )
        self._threads = [
            threading.Thread(target=self._lead, args=(worker,), name=f"slot {worker.slot}")
            for worker in pool.workers
        ]

    def start(self) -> None:
        """Begin to serve."""
        self._pairing.start()
        for thread in self._threads:
            thread.daemon = True  # it may be waiting for a worker that does not answer
            thread.start()

    def stop(self) -> None:
        """Order nothing more."""
        self._batch_queue.close()
        self._pairing.stop()

    @property
    def connected(self) -> bool:
        """Whether party 1 can be reached."""
        return self._pairing.connected

    def answer(self, query: PendingQuery) -> AnswerBytes:
        """Wait for the answer share. Raises what the query ends with."""
        self._pairing.expect(query)
        try:
            return query.wait(lambda: self._look(query))
        except (ManifestMismatch, DeadlineExceeded) as error:
            # Party 1 may have refused the query because it lacks the newest list of models.
            self._models.behind.set()
            if isinstance(error, ManifestMismatch) and query.ready is None:
                # In vain if party 1 is away; then the client learns of that.
                with suppress(Refused):
                    self._peer.refuse(query.id, timeout_s=self._order_s)
            raise
        finally:
            query.leave()
            self._pairing.forget(query)
            self._batch_queue.remove(query)

    def _look(self, query: PendingQuery) -> None:
        """Raises why the query should wait no longer: terms that differ now, or no other share."""
        if query.ready is None:
            self._handshake.require(query.question.cohort)
        self._pairing.look(query)

    # --- A thread for each worker -----------------------------------------------------------------

    def _lead(self, worker: WorkerProcess) -> None:
        while (queries := self._batch_queue.take()) is not None:
            began = time.perf_counter()
            with about([query.id for query in queries]):
                self._lead_one(worker, queries)
            self._batch_queue.ran(queries, time.perf_counter() - began)

    def _lead_one(self, worker: WorkerProcess, queries: Sequence[PendingQuery]) -> None:
        waiters = Waiters(queries)
        try:
            run = _run(worker, queries)
            # The worker begins while the order is on its way, which saves half a millisecond of
            # every query. It is cancelled if party 1 does not run the order.
            placed = self._peer.start(run, waiters.dismiss, timeout_s=self._order_s)
        except Exception as error:  # whatever it is, nobody must be left waiting
            settle(queries, error)
            return
        try:
            self._runs.compute(worker.client, run.session, queries, waiters)
        except Exception as error:
            self._failed(queries, placed, error)

    def _failed(self, queries: Sequence[PendingQuery], placed: PlacedRun, error: Exception) -> None:
        """End the queries of a run that failed with `error`, or put them back into their queue.

        What party 1 answered explains more than `error`, which may be no more than its consequence.
        If clients have left party 1, it ran none of the queries, and the others can run again.
        """
        try:
            missing = placed.missing()
        except Exception as refusal:
            settle(queries, refusal)
            return
        if not missing:
            settle(queries, error)
            return
        for query in queries:  # party 1 ran none of them, so nothing was opened
            query.begun = False
        left = [query for query in queries if query.id in missing]
        settle(left, Unreachable("the client left party 1"))
        self._batch_queue.put_back(queries)


def _run(worker: WorkerProcess, queries: Sequence[PendingQuery]) -> Run:
    # A session is fresh for every run, also when the same queries run again: it keys every mask.
    return Run(os.urandom(_SESSION_BYTES), worker.slot, tuple(query.ref for query in queries))
