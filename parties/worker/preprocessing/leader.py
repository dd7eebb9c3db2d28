"""Party 0's side of preparing: a thread that keeps the pool between its watermarks.

It leads, so there is one order of bundles: both workers make a bundle, and only when party 1 has
its half does party 0 put its own into the pool, from where a query may take it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

from parties.config import PoolSection
from parties.worker.cancellation import Cancellation
from parties.worker.preprocessing.backoff import Backoff, reason
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.prepare import Preparer
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.task import Kind
from privedge.errors import NotReady, Unreachable
from privedge.rpc.status import calls_to
from privedge.wire import mpc_pb2 as pb
from privedge.wire import mpc_pb2_grpc

log = logging.getLogger(__name__)

_State = pb.Prepared.State
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
        turns: Scheduler,
        wishes: PoolTargets,
        settings: PoolSection,
    ) -> None:
        self._stub = stub
        self._preparer = preparer
        self._pool = pool
        self._turns = turns
        self._wishes = wishes
        self._settings = settings
        # Kinds below the lower watermark, until they reach the upper one.
        self._filling: set[Kind] = set()
        self._not_before: dict[Kind, float] = {}
        self._trouble = Backoff()

    def start(self) -> None:
        """Begin, for as long as the process lives."""
        threading.Thread(target=self._run, name="filler", daemon=True).start()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                with _Orders(self._stub, self._pool.wake) as orders:
                    while True:
                        self._step(orders)
                        pause_s = _FIRST_PAUSE_S
            except Exception as error:  # whatever it is, there must be somebody to prepare
                if pause_s == _FIRST_PAUSE_S:
                    log.info("preparing stopped: %s", reason(error))
            # Party 1 has dropped its halves with the call.
            self._pool.forget()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _step(self, orders: "_Orders") -> None:
        """One rehearsal or bundle, or wait until there is something to do."""
        self._turns.wait_idle(orders.abandon.given_up)
        seen = self._pool.version
        orders.check()
        wanted = self._wishes.kinds()
        self._pool.forget(set(wanted).__contains__)
        self._trouble.only(wanted)
        kind = self._next(wanted)
        if kind is None:
            self._pool.wait_changed(seen, self._until_next())
        elif self._preparer.pairing(kind) is None:
            self._rehearse(orders, kind)
        else:
            self._fill(orders, kind)

    def _next(self, wanted: list[Kind]) -> Kind | None:
        if self._wishes.unsettled_s() > 0:
            return None
        now = time.monotonic()
        self._not_before = {kind: at for kind, at in self._not_before.items() if at > now}
        for kind in wanted:
            ready = self._pool.count(kind)
            if ready < self._settings.low:
                self._filling.add(kind)
            if ready >= self._settings.bundles:
                self._filling.discard(kind)
            possible = self._preparer.pairing(kind) is None or self._preparer.fits(kind)
            if kind in self._filling and kind not in self._not_before and possible:
                return kind
        return None

    def _until_next(self) -> float:
        unsettled = self._wishes.unsettled_s()
        waits = [at - time.monotonic() for at in self._not_before.values()]
        waits += [unsettled] if unsettled > 0 else []
        return max(0.0, min([_LOOK_AGAIN_S, *waits]))

    def _rehearse(self, orders: "_Orders", kind: Kind) -> None:
        self._turns.wait_idle(orders.abandon.given_up)
        with self._turns.rehearsal() as mine:
            task = self._wishes.task(kind)
            if not mine or task is None:
                return
            session = os.urandom(_NAME_BYTES)
            said = orders.give(self._order(pb.Preparation.REHEARSAL, session, kind))
            done = False
            if said == _State.STARTED:
                with self._trouble.kept_in("rehearsal", kind):
                    self._preparer.rehearse(session, task, orders.abandon)
                    done = True
            elif said != _State.BUSY:
                self._trouble.add(kind)
        if not done:
            self._later(kind)

    def _fill(self, orders: "_Orders", kind: Kind) -> None:
        pairing = self._preparer.pairing(kind) or b""
        name = os.urandom(_NAME_BYTES)
        said = orders.give(self._order(pb.Preparation.BUNDLE, name, kind, pairing))
        if said == _State.UNKNOWN:
            # Its worker is another one than when this kind was rehearsed.
            self._rehearse(orders, kind)
        elif said == _State.STARTED:
            self._draw(orders, name, kind, pairing)
        else:
            self._trouble.add(kind)
            self._later(kind)

    def _draw(self, orders: "_Orders", name: bytes, kind: Kind, pairing: bytes) -> None:
        """Both make their halves; a half without the other one is dropped."""
        with self._trouble.kept_in("bundle", kind):
            try:
                prepared = self._preparer.draw(name, kind, pairing, orders.abandon)
            finally:
                said = orders.answer()
            if said != _State.READY:
                raise NotReady(f"{_PEER} could not make its half")
            self._pool.put(kind, prepared)
            return
        self._later(kind)

    def _later(self, kind: Kind) -> None:
        self._not_before[kind] = time.monotonic() + self._trouble.pause_s(kind)

    def _order(
        self, what: pb.Preparation.Kind.ValueType, session: bytes, kind: Kind, pairing: bytes = b""
    ) -> pb.Preparation:
        return pb.Preparation(
            kind=what,
            session=session,
            snapshot_id=kind.snapshot_id,
            shape=kind.shape,
            one_subject=kind.one_subject,
            masked_weights=pairing,
            alive=self._pool.alive(),
        )


class _Orders:
    """One Prepare call. Use as a context manager; errors become ours.

    What is done for an order is given up with `abandon` when the call ends.
    """

    def __init__(self, stub: mpc_pb2_grpc.MpcStub, on_end: Callable[[], None]) -> None:
        self.abandon = Cancellation()
        self.abandon.also(on_end)
        self._outgoing: SimpleQueue[pb.Preparation | None] = SimpleQueue()
        self._call = stub.Prepare(iter(self._outgoing.get, None), wait_for_ready=True)
        if not self._call.add_callback(self.abandon.now):
            self.abandon.now()

    def __enter__(self) -> "_Orders":
        """Returns once party 1's worker listens: no turn is held while waiting for that."""
        self._call.initial_metadata()
        return self

    def __exit__(self, *_: object) -> None:
        self._outgoing.put(None)
        self._call.cancel()

    def check(self) -> None:
        """Raises Unreachable if party 1's worker has gone."""
        if not self._call.is_active():
            raise Unreachable(f"{_PEER} left")

    def give(self, order: pb.Preparation) -> pb.Prepared.State.ValueType:
        """Give an order; what it says at once."""
        self._outgoing.put(order)
        return self.answer()

    def answer(self) -> pb.Prepared.State.ValueType:
        """What it says next. Raises Unreachable."""
        with calls_to(_PEER):
            said = next(self._call, None)
        if said is None:
            raise Unreachable(f"{_PEER} left")
        return said.state
