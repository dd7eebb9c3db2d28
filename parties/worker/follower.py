"""Party 1's side of preparing: does what party 0's worker orders, one order at a time."""

import logging
import threading
from collections.abc import Iterator

import grpc

from parties.worker.peer_stream import Lobby
from parties.worker.pool import Pool
from parties.worker.preparing import Preparer
from parties.worker.task import Kind
from parties.worker.turns import Turns
from parties.worker.wishes import Wishes
from privedge.errors import PrivEdgeError
from privedge.wire import mpc_pb2 as pb
from privedge.wire import mpc_pb2_grpc

log = logging.getLogger(__name__)

_State = pb.Prepared.State


class Follower(mpc_pb2_grpc.MpcServicer):
    """All that party 1's worker serves to party 0's."""

    def __init__(
        self, lobby: Lobby, preparer: Preparer, pool: Pool, turns: Turns, wishes: Wishes
    ) -> None:
        self._lobby = lobby
        self._preparer = preparer
        self._pool = pool
        self._turns = turns
        self._wishes = wishes
        self._one_call = threading.Lock()

    def Exchange(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        """One session's stream."""
        return self._lobby.exchange(request_iterator, context)

    def Prepare(
        self, request_iterator: Iterator[pb.Preparation], context: grpc.ServicerContext
    ) -> Iterator[pb.Prepared]:
        """Follow party 0's orders until it hangs up; what they made goes with the call."""
        with self._one_call:
            try:
                for order in request_iterator:
                    kind = Kind(order.snapshot_id, tuple(order.shape), order.one_subject)
                    if order.kind == pb.Preparation.REHEARSAL:
                        yield from self._rehearsal(order.session, kind)
                    else:
                        yield from self._bundle(order.session, kind, order.masked_weights)
            finally:
                self._pool.forget()

    def _rehearsal(self, session: bytes, kind: Kind) -> Iterator[pb.Prepared]:
        task = self._wishes.task(kind)
        if task is None:
            yield _said(_State.UNKNOWN)
            return
        with self._turns.rehearsal() as mine:
            yield _said(_State.STARTED if mine else _State.BUSY)
            if mine:
                try:
                    self._preparer.rehearse(session, task)
                except PrivEdgeError as error:
                    log.warning("rehearsal failed: %s", error)

    def _bundle(self, name: bytes, kind: Kind, pairing: bytes) -> Iterator[pb.Prepared]:
        if self._preparer.pairing(kind) != pairing:
            yield _said(_State.UNKNOWN)
            return
        if not self._preparer.fits(kind):
            yield _said(_State.FAILED)
            return
        yield _said(_State.STARTED)
        try:
            self._pool.put(kind, self._preparer.draw(name, kind, pairing))
        except PrivEdgeError as error:
            log.warning("bundle failed: %s", error)
            yield _said(_State.FAILED)
        else:
            yield _said(_State.READY)


def _said(state: pb.Prepared.State.ValueType) -> pb.Prepared:
    return pb.Prepared(state=state)
