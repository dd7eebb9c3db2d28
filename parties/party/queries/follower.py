"""Party 1's part: it holds queries until party 0 orders them, then runs them in party 0's order.

Each worker has a thread, so the runs of a worker begin in the order in which they were ordered.
Sees one share of queries and answers, as bytes.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import SimpleQueue

from parties.party.queries.inbox import HeldChange, Inbox
from parties.party.queries.pending import PendingQuery, Run, Waiters, settle
from parties.party.queries.runs import Runs
from parties.party.workers.messages import AnswerBytes
from parties.party.workers.processes import WorkerPool, WorkerProcess
from privedge.errors import DeadlineExceeded, LimitExceeded
from privedge.log import about
from privedge.rpc.server import MayLeave
from privedge.rpc.time_limit import ring_after


@dataclass(frozen=True)
class _Ordered:
    """A run that party 0 has ordered."""

    session: bytes
    queries: list[PendingQuery]
    waiters: Waiters


class _Slot:
    """What one worker has to do."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.worker = worker
        self.queue: SimpleQueue[_Ordered | None] = SimpleQueue()
        self.last: _Ordered | None = None


class Follower:
    """Party 1's queries. Safe to call from many threads."""

    def __init__(self, pool: WorkerPool, runs: Runs, *, late_s: float) -> None:
        """`late_s`: party 0 orders the next run of a worker when its own part of the last one is
        over; party 1's part is then over within that many seconds, or it is cancelled.
        """
        self._runs = runs
        self._late_s = late_s
        self._inbox = Inbox()
        self._slots = [_Slot(worker) for worker in pool.workers]

    def start(self) -> None:
        """Begin to serve."""
        for slot in self._slots:
            # A daemon, because it may be waiting for a worker that does not answer.
            name = f"slot {slot.worker.slot}"
            threading.Thread(target=self._follow, args=(slot,), name=name, daemon=True).start()

    def end_watch(self) -> None:
        """End party 0's watch, which would otherwise go on for ever."""
        self._inbox.close()

    def stop(self) -> None:
        """Run nothing more."""
        for slot in self._slots:
            slot.queue.put(None)

    def answer(self, query: PendingQuery) -> AnswerBytes:
        """Wait for the answer share. Raises what the query ends with."""
        query.ready = query.arrived  # as far as this party can know
        self._inbox.put(query)
        try:
            return query.wait()
        except DeadlineExceeded:
            raise DeadlineExceeded(
                f"query {query.id}: not answered in time, or never ordered"
            ) from None
        finally:
            query.leave()
            self._inbox.remove(query)

    # --- What party 0 asks for --------------------------------------------------------------------

    def order(self, run: Run) -> tuple[str, ...]:
        """Begin a run, or return the ids of the queries that are not here.

        Raises LimitExceeded for a worker that this party does not have, and ManifestMismatch.
        """
        if run.worker >= len(self._slots):
            raise LimitExceeded("party 0 has more workers than this party; set `workers` alike")
        queries, missing = self._inbox.claim(run.queries)
        if queries:
            slot = self._slots[run.worker]
            if slot.last is not None:
                ring_after(self._late_s, slot.last.waiters.dismiss)
            slot.last = _Ordered(run.session, queries, Waiters(queries))
            slot.queue.put(slot.last)
        return missing

    def refuse(self, query_id: str) -> None:
        """End a query, because party 0 holds another question of that id."""
        self._inbox.refuse(query_id)

    def say_damaged(self, model_ids: frozenset[str]) -> None:
        """Tell party 0 which shares are damaged here."""
        self._inbox.say_damaged(model_ids)

    def changes(self, watcher: MayLeave) -> Iterator[HeldChange]:
        """Give all queries that are here, then every change."""
        return self._inbox.changes(watcher)

    # --- A thread for each worker -----------------------------------------------------------------

    def _follow(self, slot: _Slot) -> None:
        while (next_run := slot.queue.get()) is not None:
            queries = next_run.queries
            with about([query.id for query in queries]):
                try:
                    self._runs.compute(
                        slot.worker.client, next_run.session, queries, next_run.waiters
                    )
                except Exception as error:  # whatever it is, nobody must be left waiting
                    settle(queries, error)
