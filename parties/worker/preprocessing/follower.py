"""Party 1's side of preprocessing: carries out what party 0's worker orders, one order at a time.

1.  an order comes         every bundle that party 0 no longer has is dropped here too
2.  rehearsal              both workers run it together, unless a query is running here
3.  bundles                both draw their shares of them; without an audit party 0 may use its own
4.  audit                  one exchange after the other, on the bundles that were drawn last; those
                           that are kept are here before party 0 hears so
5.  the orders end         all bundles are dropped: party 0's worker has gone, and its with it
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import grpc

from parties.mpc.audit import Steps, Wrong
from parties.mpc.bundles import Bundle
from parties.worker.cancellation import Cancellation
from parties.worker.preprocessing.backoff import Backoff
from parties.worker.preprocessing.orders import Order, Progress, State
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.prepare import Drawn, Preparer
from parties.worker.preprocessing.targets import MOST_OPENED, PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.task import Kind


@dataclass(frozen=True)
class _Audit:
    """The audit of the bundles drawn last, and this party's words of the exchange that is next."""

    kind: Kind
    drawn: Drawn
    steps: Steps[list[Bundle] | Wrong] = field(repr=False)
    mine: bytes = field(repr=False)


class PoolFollower:
    """Safe to call from several threads; the orders of one call are carried out at a time."""

    def __init__(
        self, preparer: Preparer, pool: Pool, scheduler: Scheduler, targets: PoolTargets
    ) -> None:
        self._preparer = preparer
        self._pool = pool
        self._scheduler = scheduler
        self._targets = targets
        self._trust = preparer.trust
        self._audit: _Audit | None = None
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
                self._audit = None
                self._pool.forget()

    def carry_out(self, order: Order, cancellation: Cancellation) -> Iterator[Progress]:
        """Carry out one order; gives what to answer, the first answer at once."""
        if order.audit is not None:
            yield self._exchanged(order.session, order.audit)
            return
        self._audit = None
        self._pool.keep_only(set(order.alive))
        if self._trust.fault():
            self._pool.forget()
            yield Progress(State.FAILED)
        elif not self._targets.enabled:
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
        # This party's own settings say how many must be opened at least.
        if not count or not self._targets.audit_of(count) <= order.opened <= MOST_OPENED:
            yield Progress(State.FAILED)
            return
        yield Progress(State.STARTED, count)
        state = State.FAILED
        with self._backoff.catching("bundle", kind):
            drawn = self._preparer.draw(
                order.session, count + order.opened, kind, pairing, cancellation
            )
            if order.opened:
                pause = partial(self._scheduler.wait_idle, cancellation.cancelled)
                steps = drawn.audited(order.opened, pause)
                self._audit = _Audit(kind, drawn, steps, next(steps))
            else:
                self._pool.put(kind, *drawn.kept(drawn.bundles))
            state = State.READY
        yield Progress(state, count)

    def _exchanged(self, session: bytes, theirs: bytes) -> Progress:
        """One exchange of the audit. With the last one the kept bundles are in the pool, or the
        dealer is refused.
        """
        audit, self._audit = self._audit, None
        # Without a lot that is drawn in full there is nothing to open, and no coin.
        if audit is None or audit.drawn.session != session:
            return Progress(State.FAILED)
        with self._backoff.catching("audit", audit.kind):
            try:
                following = audit.steps.send(theirs)
            except StopIteration as end:
                return Progress(self._ended(audit, end.value), audit=audit.mine)
            self._audit = replace(audit, mine=following)
            return Progress(State.STARTED, audit=audit.mine)
        return Progress(State.FAILED)

    def _ended(self, audit: "_Audit", found: list[Bundle] | Wrong) -> State:
        if isinstance(found, Wrong):
            self._pool.forget()
            self._trust.refuse(audit.drawn.session, found.what)
            return State.FAILED
        self._pool.put(audit.kind, *audit.drawn.kept(found))
        return State.READY
