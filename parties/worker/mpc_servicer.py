"""What party 1's worker serves to party 0's (mpc.proto): decode, call, encode. Sees openings, which
uniform masks hide.
"""

from collections.abc import Iterator

import grpc

from parties.wire import mpc_pb2 as pb
from parties.wire import mpc_pb2_grpc
from parties.worker import codec
from parties.worker.meeting import Acceptor
from parties.worker.preprocessing.follower import PoolFollower


class MpcServicer(mpc_pb2_grpc.MpcServicer):
    """Serves party 0's worker. Holds no state of its own."""

    def __init__(self, acceptor: Acceptor, pool_follower: PoolFollower) -> None:
        self._acceptor = acceptor
        self._pool_follower = pool_follower

    def Exchange(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        """Carry sessions, one after another."""
        return self._acceptor.exchange(request_iterator, context)

    def Prepare(
        self, request_iterator: Iterator[pb.Preparation], context: grpc.ServicerContext
    ) -> Iterator[pb.Prepared]:
        """Carry out party 0's orders until it ends the call."""
        with self._pool_follower.call(context) as cancellation:
            # Party 0 waits for this before its first order: from here on orders are answered soon.
            context.send_initial_metadata(())
            for order in map(codec.order_from_wire, request_iterator):
                for progress in self._pool_follower.carry_out(order, cancellation):
                    yield codec.progress_to_wire(progress)
