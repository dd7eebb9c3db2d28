"""Party 1's side of preprocessing: carries out what party 0's worker orders, one order at a time.

1.  an order comes         every bundle that party 0 no longer has is dropped here too
2.  rehearsal              both workers run it together, unless a query is running here
3.  bundles                both draw their shares of them; only then may party 0 use its own
4.  the orders end         all bundles are dropped: party 0's worker has gone, and its with it
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from parties.worker.cancellation import Cancellation
from parties.worker.preprocessing.backoff import Backoff
from parties.worker.preprocessing.orders import Order, Progress, State, bundle_names
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.prepare import Preparer
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.task import Kind


class PoolFollower:
    """Safe to call from several threads; the orders of one call are carried out at a time."""

    def __init__(
        self, preparer: Preparer, pool: Pool, scheduler: Scheduler, targets: PoolTargets
    ) -> None:
        self._preparer = preparer
        self._pool = pool
        self._scheduler = scheduler
        self._targets = targets
        self._backoff = Backoff()
        self._one_call = threading.Lock()
        self._lock = threading.Lock()
        self._newest = Cancellation()

    @contextmanager
    def call(self, context: grpc.ServicerContext) -> Iterator[Cancellation]:
        """Serve the orders of this call inside the block. Waits until an older call has ended.

        Party 0 has one worker for this one, so an older call is of a worker that has died: it is
        cancelled. The bundles that were made for a call go when it ends.
        """
        cancellation = Cancellation(context)
        cancellation.add(context.cancel)
        with self._lock:
            before, self._newest = self._newest, cancellation
        before.cancel()
        with self._one_call:
            try:
                yield cancellation
            finally:
                self._pool.forget()

    def carry_out(self, order: Order, cancellation: Cancellation) -> Iterator[Progress]:
        """Carry out one order; gives what to answer, the first answer at once."""
        self._pool.keep_only(set(order.alive))
        if not self._targets.enabled:
            yield Progress(State.FAILED)
        elif order.rehearsal:
            for state in self._rehearsal(order.session, order.kind, cancellation):
                yield Progress(state)
        else:
            yield from self._bundles(order, cancellation)

    def _rehearsal(self, session: bytes, kind: Kind, cancellation: Cancellation) -> Iterator[State]:
        task = self._targets.task(kind)
        if task is None:
            yield State.UNKNOWN
            return
        with self._scheduler.rehearsal() as turn:
            yield State.STARTED if turn else State.BUSY
            if turn:
                with self._backoff.catching("rehearsal", kind):
                    self._preparer.rehearse(session, task, cancellation, turn)

    def _bundles(self, order: Order, cancellation: Cancellation) -> Iterator[Progress]:
        kind, pairing = order.kind, order.pairing
        if self._preparer.pairing(kind) != pairing:
            yield Progress(State.UNKNOWN)
            return
        # Party 0's settings may be others, and an order may ask for any number.
        missing = self._targets.missing(self._pool.count(kind))
        count = self._preparer.room(kind, min(order.bundles, missing))
        if not count:
            yield Progress(State.FAILED)
            return
        yield Progress(State.STARTED, count)
        state = State.FAILED
        names = bundle_names(order.session, count)
        with self._backoff.catching("bundle", kind):
            self._pool.put(kind, *self._preparer.draw(names, kind, pairing, cancellation))
            state = State.READY
        yield Progress(state, count)
