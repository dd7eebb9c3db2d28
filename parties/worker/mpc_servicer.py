"""Party 1's side of preparing: does what party 0's worker orders, one order at a time."""

import threading
from collections.abc import Iterator

import grpc

from parties.worker.cancellation import Cancellation
from parties.worker.meeting import Acceptor
from parties.worker.preprocessing.backoff import Backoff
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.prepare import Preparer
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.task import Kind
from privedge.wire import mpc_pb2 as pb
from privedge.wire import mpc_pb2_grpc

_State = pb.Prepared.State


class MpcServicer(mpc_pb2_grpc.MpcServicer):
    """All that party 1's worker serves to party 0's."""

    def __init__(
        self, lobby: Acceptor, preparer: Preparer, pool: Pool, turns: Scheduler, wishes: PoolTargets
    ) -> None:
        self._lobby = lobby
        self._preparer = preparer
        self._pool = pool
        self._turns = turns
        self._wishes = wishes
        self._trouble = Backoff()
        self._one_call = threading.Lock()
        self._lock = threading.Lock()
        self._newest = Cancellation()

    def Exchange(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        """One session's stream."""
        return self._lobby.exchange(request_iterator, context)

    def Prepare(
        self, request_iterator: Iterator[pb.Preparation], context: grpc.ServicerContext
    ) -> Iterator[pb.Prepared]:
        """Follow party 0's orders until it hangs up; what they made goes with the call."""
        abandon = self._instead_of_others(context)
        with self._one_call:
            # Party 0 waits for it before its first order: from here on orders are answered soon.
            context.send_initial_metadata(())
            try:
                for order in request_iterator:
                    self._pool.forget_but(set(order.alive))
                    yield from self._followed(order, abandon)
            finally:
                self._pool.forget()

    def _instead_of_others(self, context: grpc.ServicerContext) -> Cancellation:
        """There is one worker at party 0: whatever call was before is of one that has died."""
        abandon = Cancellation(context)
        abandon.also(context.cancel)
        with self._lock:
            before, self._newest = self._newest, abandon
        before.now()
        return abandon

    def _followed(self, order: pb.Preparation, abandon: Cancellation) -> Iterator[pb.Prepared]:
        kind = Kind(order.snapshot_id, tuple(order.shape), order.one_subject)
        if not self._wishes.any:
            yield _said(_State.FAILED)
        elif order.kind == pb.Preparation.REHEARSAL:
            yield from self._rehearsal(order.session, kind, abandon)
        else:
            yield from self._bundle(order, kind, abandon)

    def _rehearsal(
        self, session: bytes, kind: Kind, abandon: Cancellation
    ) -> Iterator[pb.Prepared]:
        task = self._wishes.task(kind)
        if task is None:
            yield _said(_State.UNKNOWN)
            return
        with self._turns.rehearsal() as mine:
            yield _said(_State.STARTED if mine else _State.BUSY)
            if mine:
                with self._trouble.kept_in("rehearsal", kind):
                    self._preparer.rehearse(session, task, abandon)

    def _bundle(
        self, order: pb.Preparation, kind: Kind, abandon: Cancellation
    ) -> Iterator[pb.Prepared]:
        pairing = order.masked_weights
        if self._preparer.pairing(kind) != pairing:
            yield _said(_State.UNKNOWN)
            return
        if not self._preparer.fits(kind):
            yield _said(_State.FAILED)
            return
        yield _said(_State.STARTED)
        said = _State.FAILED
        with self._trouble.kept_in("bundle", kind):
            self._pool.put(kind, self._preparer.draw(order.session, kind, pairing, abandon))
            said = _State.READY
        yield _said(said)


def _said(state: pb.Prepared.State.ValueType) -> pb.Prepared:
    return pb.Prepared(state=state)
