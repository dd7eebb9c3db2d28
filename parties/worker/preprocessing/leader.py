"""Party 0's side of preprocessing: a thread that keeps the pool between its watermarks.

    1.  choose      the likeliest kind of run with too few bundles (targets.py)
    2.  order       party 1's worker takes part, or says why not; one order at a time
    3.  rehearse    both workers run that kind on zeros, if they have no masked weights or plan yet
    4.  draw        both draw their shares of the bundles from the dealer, or make them together, in
                    one session: most of what a small bundle costs is the session
    5.  audit       both open some of them, so that a dealer that deals wrongly is caught
    6.  keep        party 0 puts its shares into the pool only after party 1 has said that its own
                    are in its pool, so no query takes a bundle that party 1 lacks

Party 0 leads, so both workers see one order of bundles. Sees masks of later queries.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

from parties.config.sections import PoolSection
from parties.mpc.audit import Wrong
from parties.mpc.bundles import Bundle
from parties.wire import mpc_pb2 as pb
from parties.wire import mpc_pb2_grpc
from parties.worker import codec
from parties.worker.cancellation import Cancellation
from parties.worker.preprocessing.backoff import Backoff, reason
from parties.worker.preprocessing.orders import Order, Progress, State
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.prepare import Drawn, Preparer
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.task import Kind
from privedge.errors import NotReady, Unreachable
from privedge.rpc.status import calls_to

log = logging.getLogger(__name__)

_NAME_BYTES = 16
_PEER = "party 1's worker"
# After a failure, and while nothing is to be done.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _LOOK_AGAIN_S = 0.5, 10.0, 30.0


class PoolLeader:
    """A thread of party 0's worker."""

    def __init__(
        self,
        stub: mpc_pb2_grpc.MpcStub,
        preparer: Preparer,
        pool: Pool,
        scheduler: Scheduler,
        targets: PoolTargets,
        settings: PoolSection,
    ) -> None:
        self._stub = stub
        self._preparer = preparer
        self._pool = pool
        self._scheduler = scheduler
        self._targets = targets
        self._settings = settings
        self._trust = preparer.trust
        # Kinds that fell below the lower watermark and have not reached the upper one since.
        self._filling: set[Kind] = set()
        self._not_before: dict[Kind, float] = {}
        self._backoff = Backoff()

    def start(self) -> None:
        """Begin, for as long as the process lives."""
        threading.Thread(target=self._run, name="pool leader", daemon=True).start()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                with _Orders(self._stub, self._pool.wake) as orders:
                    while True:
                        self._step(orders)
                        pause_s = _FIRST_PAUSE_S
            except Exception as error:  # whatever it is, this thread must go on
                if pause_s == _FIRST_PAUSE_S:
                    log.info("preparing stopped: %s", reason(error))
            # Party 1 has dropped its shares of all bundles with the call.
            self._pool.forget()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _step(self, orders: "_Orders") -> None:
        """Make one rehearsal or some bundles, or wait until there is something to do."""
        self._scheduler.wait_idle(orders.cancellation.cancelled)
        seen = self._pool.version
        orders.check()
        targets = self._targets.kinds()
        self._pool.forget(set(targets).__contains__)
        self._backoff.keep_only(targets)
        kind = self._next(targets)
        if kind is None:
            self._pool.wait_changed(seen, self._until_next())
        elif self._preparer.pairing(kind) is None:
            self._rehearse(orders, kind)
        else:
            self._fill(orders, kind)

    def _next(self, targets: list[Kind]) -> Kind | None:
        """Step 1: the first target that has too few bundles and is not left alone for now."""
        if self._trust.fault():
            # Another worker may have found it: what this one holds is of the same dealer.
            self._pool.forget()
            return None
        if self._targets.unsettled_s() > 0:
            return None
        now = time.monotonic()
        self._not_before = {kind: at for kind, at in self._not_before.items() if at > now}
        for kind in targets:
            ready = self._pool.count(kind)
            if ready < self._settings.low:
                self._filling.add(kind)
            if ready >= self._settings.bundles:
                self._filling.discard(kind)
            possible = self._preparer.pairing(kind) is None or self._preparer.room(kind, 1)
            if kind in self._filling and kind not in self._not_before and possible:
                return kind
        return None

    def _until_next(self) -> float:
        unsettled = self._targets.unsettled_s()
        waits = [at - time.monotonic() for at in self._not_before.values()]
        waits += [unsettled] if unsettled > 0 else []
        return max(0.0, min([_LOOK_AGAIN_S, *waits]))

    def _rehearse(self, orders: "_Orders", kind: Kind) -> None:
        self._scheduler.wait_idle(orders.cancellation.cancelled)
        with self._scheduler.rehearsal() as turn:
            task = self._targets.task(kind)
            if turn is None or task is None:
                return
            # Step 2: a session of its own, in which party 1 takes part, or says that it is busy.
            session = os.urandom(_NAME_BYTES)
            with turn.during(orders.end):
                state = orders.give(Order(True, session, kind, alive=self._alive())).state
            done = False
            if state is State.STARTED:
                # Step 3.
                with self._backoff.catching("rehearsal", kind):
                    self._preparer.rehearse(session, task, orders.cancellation, turn)
                    done = True
            elif state is not State.BUSY:
                self._backoff.count(kind)
        if not done:
            self._later(kind)

    def _fill(self, orders: "_Orders", kind: Kind) -> None:
        # Step 2: party 1 refuses unless it holds the same masked weights.
        pairing = self._preparer.pairing(kind) or b""
        session = os.urandom(_NAME_BYTES)
        wanted = self._preparer.room(kind, self._missing(kind), self._targets.opened)
        opened = self._targets.audit_of(wanted)
        order = Order(False, session, kind, pairing, self._alive(), wanted, opened)
        began = orders.give(order)
        if began.state is State.UNKNOWN:
            # Party 1's worker was restarted after this kind was rehearsed.
            self._rehearse(orders, kind)
        elif began.state is State.STARTED:
            self._draw(orders, order, min(wanted, began.bundles))
        else:
            self._backoff.count(kind)
            self._later(kind)

    def _missing(self, kind: Kind) -> int:
        """How many bundles to make at once. The first is made alone: a query may wait for it."""
        ready = self._pool.count(kind)
        return self._targets.missing(ready) if ready else 1

    def _draw(self, orders: "_Orders", order: Order, count: int) -> None:
        kind = order.kind
        with self._backoff.catching("bundle", kind):
            try:
                # Step 4.
                drawn = self._preparer.draw(
                    order.session, count + order.opened, kind, order.pairing, orders.cancellation
                )
            finally:
                state = orders.answer().state
            if state is not State.READY:
                raise NotReady(f"{_PEER} could not make its share")
            # Steps 5 and 6: shares without the other party's are dropped.
            kept = self._audited(orders, order, drawn) if order.opened else drawn.bundles
            self._pool.put(kind, *drawn.kept(kept))
            return
        self._later(kind)

    def _audited(self, orders: "_Orders", order: Order, drawn: Drawn) -> Sequence[Bundle]:
        """The bundles to keep. Raises WrongRandomness; then the pool is empty and stays so."""
        pause = partial(self._scheduler.wait_idle, orders.cancellation.cancelled)
        steps = drawn.audited(order.opened, pause)
        mine = next(steps)
        while True:
            progress = orders.give(replace(order, audit=mine))
            if progress.state is State.FAILED and not progress.audit:
                raise NotReady(f"{_PEER} did not take part in the audit")
            try:
                mine = steps.send(progress.audit)
            except StopIteration as end:
                found = end.value
                break
        if isinstance(found, Wrong):
            self._pool.forget()
            self._trust.refuse(order.session, found.what)
            self._trust.check()
        if progress.state is not State.READY:
            raise NotReady(f"{_PEER} could not keep its share")
        kept: Sequence[Bundle] = found
        return kept

    def _later(self, kind: Kind) -> None:
        self._not_before[kind] = time.monotonic() + self._backoff.pause_s(kind)

    def _alive(self) -> tuple[bytes, ...]:
        return tuple(self._pool.alive())


class _Orders:
    """One Prepare call. Use as a context manager; it raises errors of our own.

    `cancellation` ends what is being done for an order when the call ends.
    """

    def __init__(self, stub: mpc_pb2_grpc.MpcStub, on_end: Callable[[], None]) -> None:
        self.cancellation = Cancellation()
        self.cancellation.add(on_end)
        self._outgoing: SimpleQueue[pb.Preparation | None] = SimpleQueue()
        self._call = stub.Prepare(iter(self._outgoing.get, None), wait_for_ready=True)
        if not self._call.add_callback(self.cancellation.cancel):
            self.cancellation.cancel()

    def __enter__(self) -> "_Orders":
        """Wait until party 1's worker listens, so that no turn is held during that wait."""
        self._call.initial_metadata()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the call; party 1's worker then drops what it prepared for it."""
        self._outgoing.put(None)
        self._call.cancel()

    def check(self) -> None:
        """Raises Unreachable if party 1's worker has gone."""
        if not self._call.is_active():
            raise Unreachable(f"{_PEER} left")

    def give(self, order: Order) -> Progress:
        """Give an order and return the first answer, which comes at once."""
        self._outgoing.put(codec.order_to_wire(order))
        return self.answer()

    def answer(self) -> Progress:
        """Wait for the next answer. Raises Unreachable."""
        with calls_to(_PEER):
            message = next(self._call, None)
        if message is None:
            raise Unreachable(f"{_PEER} left")
        return codec.progress_from_wire(message)
