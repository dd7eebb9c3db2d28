"""A worker as its front end calls it (worker.proto). Sees one share of queries and answers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import grpc

from parties.party.edge import codec
from parties.party.edge.watch import Watch
from parties.party.models.cohorts import Snapshot
from parties.party.workers.messages import AnswerBytes, Job, Kept
from parties.wire import worker_pb2 as pb
from parties.wire import worker_pb2_grpc
from privedge import traces
from privedge.errors import PrivEdgeError, ShareError
from privedge.rpc import request_id
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import MayLeave, cancel_with
from privedge.rpc.status import calls_to


class WorkerClient:
    """The worker on the other end of `channel`. Safe to call from many threads."""

    def __init__(self, channel: grpc.Channel, name: str) -> None:
        """`name` is for messages: "worker 0"."""
        self._stub = worker_pb2_grpc.WorkerStub(channel)
        self._name = name

    def run(self, job: Job, words: bytes, deadline: Deadline, caller: MayLeave) -> AnswerBytes:
        """Let the worker compute one answer share. It is cancelled when `caller` leaves.

        Waits for a worker that is being restarted. Raises UnknownModel if the worker does not know
        the snapshot, and then it has not begun; what else it refused; Unreachable if it dies
        meanwhile; DeadlineExceeded.
        """
        try:
            with calls_to(self._name):
                call = self._stub.Run.future(
                    codec.run_request_to_wire(job, words),
                    timeout=deadline.remaining(),
                    wait_for_ready=True,
                    metadata=(*request_id.passed_on(), *traces.passed_on()),
                )
                cancel_with(caller, call)
                return codec.answer_from_wire(call.result())
        except ShareError as error:
            # A malformed job is this server's fault: it is not the client's to mend.
            raise PrivEdgeError(str(error)) from None

    def describe(self, snapshot: Snapshot, deadline: Deadline) -> None:
        """Tell the worker which models a snapshot has. Raises Unreachable, DeadlineExceeded."""
        with calls_to(self._name):
            pieces = codec.snapshot_to_wire(snapshot)
            self._stub.Learn(pieces, timeout=deadline.remaining(), wait_for_ready=True)

    def begin_describing(self, snapshot: Snapshot) -> Any:
        """The same without waiting: a gRPC future, which raises what gRPC does."""
        return self._stub.Learn.future(codec.snapshot_to_wire(snapshot), wait_for_ready=True)

    def prepare_for(self, snapshots: Sequence[Snapshot]) -> Watch[Kept]:
        """Let the worker prepare for queries on these snapshots and no others. It must know them.

        Gives what it has ready and could not load, now and after every change.
        """
        request = pb.KeepRequest(snapshot_ids=[snapshot.id for snapshot in snapshots])
        call = self._stub.Keep(request, wait_for_ready=True)
        return Watch(call, partial(map, codec.kept_from_wire))
