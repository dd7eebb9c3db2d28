"""What a worker serves to its own front end (worker.proto). Sees one share of query and models.

The steps of a session, each bounded by the caller's deadline and given up when the caller leaves:

    1.  load the snapshot's shares
    2.  meet the other party's worker and agree on what is computed
    3.  take a bundle from the pool, or else meet the dealer
    4.  compute on CrypTen
    5.  compare transcripts; only then does the answer share leave
"""

import threading
from collections.abc import Iterator

import grpc
import torch

from parties.config import PoolSection
from parties.worker.cancellation import Cancellation
from parties.worker.computation import Computation
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.task import Method, Task
from privedge.errors import ShareError
from privedge.mpc.dealing import SessionId
from privedge.rpc import codec
from privedge.rpc.deadline import Deadline
from privedge.wire import party_pb2 as party
from privedge.wire import worker_pb2 as pb
from privedge.wire import worker_pb2_grpc

_MAX_SECONDS = 3600.0
# How often a Keep call looks whether its caller is still there.
_LOOK_AGAIN_S = 5.0


class WorkerServicer(worker_pb2_grpc.WorkerServicer):
    """One run at a time."""

    def __init__(
        self,
        computation: Computation,
        pool: Pool,
        turns: Scheduler,
        wishes: PoolTargets,
        *,
        method: Method,
        settings: PoolSection,
    ) -> None:
        self._computation = computation
        self._pool = pool
        self._turns = turns
        self._wishes = wishes
        self._method = method
        self._settings = settings

    def Run(self, request: pb.RunRequest, context: grpc.ServicerContext) -> pb.RunResponse:
        """Compute one answer share."""
        deadline = Deadline.of(context, at_most_s=_MAX_SECONDS)
        job = request.job
        task = Task.of_job(job, self._wishes.known.get(job.snapshot_id), self._method)
        share = _share(job, request.words)
        run = SessionId(job.session)
        with self._turns.query():
            answer = self._computation.run(run, task, share, deadline, Cancellation(context))
        self._wishes.asked(task.kind)
        cost = codec.cost_to_wire(answer.cost)
        header = party.AnswerHeader(shape=answer.words.shape, cost=cost)
        return pb.RunResponse(header=header, words=answer.words.contiguous().numpy().tobytes())

    def Keep(
        self, request: pb.KeepRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.KeepResponse]:
        """Be ready for queries on these snapshots; say what is ready, now and after each change."""
        left = threading.Event()
        for step in (left.set, self._pool.wake):
            context.add_callback(step)
        self._wishes.keep(request.snapshot_ids)
        self._pool.forget(lambda kind: bool(self._wishes.cohort(kind)))
        while context.is_active():
            seen = self._pool.version
            yield pb.KeepResponse(pools=self._pools())
            self._pool.wait_changed(seen, _LOOK_AGAIN_S)
            # Nobody needs to know while a query runs.
            self._turns.wait_idle(left)

    def Learn(
        self, request_iterator: Iterator[pb.Snapshot], context: grpc.ServicerContext
    ) -> pb.LearnResponse:
        """Remember a snapshot."""
        self._wishes.known.learn(request_iterator)
        return pb.LearnResponse()

    def _pools(self) -> list[party.Pool]:
        ready = self._pool.counts()
        return [
            party.Pool(
                cohort=self._wishes.cohort(kind),
                batch=kind.shape[0],
                ready=ready.get(kind, 0),
                wanted=self._settings.bundles,
            )
            for kind in self._wishes.kinds()
            if not kind.one_subject
        ]


def _share(job: pb.Job, words: bytes) -> torch.Tensor:
    shape = tuple(job.shape)
    if len(words) != 8 * torch.Size(shape).numel():
        raise ShareError(f"query share: {len(words)} bytes for shape {shape}")
    # A copy: tensors are written to, bytes must not be.
    return torch.frombuffer(bytearray(words), dtype=torch.int64).reshape(shape)
