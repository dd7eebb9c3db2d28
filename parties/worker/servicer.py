"""What a worker serves to its own front end (worker.proto): decode, call, encode. Sees one share of
queries, models and answers.

The steps of a run, each bounded by the caller's deadline and cancelled when the caller leaves:

    1.  load the snapshot's shares
    2.  meet the other party's worker and agree on what is computed
    3.  take a bundle from the pool, or else meet the dealer
    4.  compute on CrypTen
    5.  compare transcripts; only then does the answer share leave
    6.  with telemetry: count the score, once the answer is on its way
"""

import logging
import threading
from collections.abc import Callable, Iterator

import grpc
import torch

from parties.config.sections import PoolSection
from parties.mpc.dealing import SessionId
from parties.wire import worker_pb2 as pb
from parties.wire import worker_pb2_grpc
from parties.worker import codec
from parties.worker.afterwards import released
from parties.worker.cancellation import Cancellation
from parties.worker.computation import AnswerShare, Computation
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.task import Method, Task
from privedge import traces
from privedge.ran.narrow import word_bits
from privedge.rpc.deadline import Deadline
from privedge.rpc.time_limit import ring_after
from privedge.wire import party_pb2

log = logging.getLogger(__name__)

_MAX_SECONDS = 3600.0
# How often a Keep call looks whether its caller is still there.
_LOOK_AGAIN_S = 5.0
# How long a Keep call waits for further changes before it reports. A bundle that replaces a spent
# one is there within that time, if it is small.
_SETTLES_S = 0.1
# How long the counting of scores may last, which delays the next run.
_COUNTING_S = 10.0


class WorkerServicer(worker_pb2_grpc.WorkerServicer):
    """Serves one run at a time."""

    def __init__(
        self,
        computation: Computation,
        pool: Pool,
        scheduler: Scheduler,
        targets: PoolTargets,
        *,
        method: Method,
        settings: PoolSection,
    ) -> None:
        self._computation = computation
        self._pool = pool
        self._scheduler = scheduler
        self._targets = targets
        self._method = method
        self._settings = settings

    def Run(self, request: pb.RunRequest, context: grpc.ServicerContext) -> pb.RunResponse:
        """Compute one answer share."""
        deadline = Deadline.of(context, at_most_s=_MAX_SECONDS)
        snapshot = self._targets.snapshots.get(request.job.snapshot_id)
        task = codec.task_from_wire(request.job, snapshot, self._method)
        share = codec.share_from_wire(request.words, task.shape, word_bits(snapshot.spec))
        run = SessionId(request.job.session)
        try:
            with traces.span("worker run", root=False):
                answer = self._answered(run, task, share, deadline, context)
        finally:
            # What the run took out of the pool is made up for once its answer is on its way.
            if not context.add_callback(self._pool.wake):
                self._pool.wake()
            # Also of one that was refused for want of a bundle: the client comes again.
            if task.is_of_client:
                self._targets.note_query(task.kind)
        cost = answer.cost
        log.info("run: %d rounds, %.1f ms", cost.rounds, 1000 * cost.online_s)
        return codec.answer_to_wire(answer)

    def _answered(
        self,
        run: SessionId,
        task: Task,
        share: torch.Tensor,
        deadline: Deadline,
        context: grpc.ServicerContext,
    ) -> AnswerShare:
        cancellation = Cancellation(context)
        if task.snapshot.telemetry is None:
            with self._scheduler.query():
                return self._computation.run(run, task, share, deadline, cancellation)

        def work(release: Callable[[AnswerShare], object]) -> None:
            def release_and_go_on(answer: AnswerShare) -> None:
                cancellation.outlive_caller()
                ring_after(_COUNTING_S, cancellation.cancel)
                release(answer)

            with self._scheduler.query():
                self._computation.run(run, task, share, deadline, cancellation, release_and_go_on)

        return released(work, context)

    def Keep(
        self, request: pb.KeepRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.KeepResponse]:
        """Prepare for queries on these snapshots; say what is ready and what is damaged, now and
        when that changes.
        """
        left = threading.Event()
        for step in (left.set, self._pool.wake):
            context.add_callback(step)
        self._targets.use(request.snapshot_ids)
        self._pool.forget(lambda kind: bool(self._targets.cohort(kind)))
        said = None
        while context.is_active():
            seen = self._pool.version
            damaged = self._computation.damaged
            now = pb.KeepResponse(
                pools=self._pools(), damaged=sorted(damaged & self._targets.model_ids())
            )
            if now != said:
                said = now
                yield now
            self._pool.wait_changed(seen, _LOOK_AGAIN_S)
            if self._computation.damaged != damaged:
                continue  # queries fail until the front end knows
            # Nobody needs to know while a query runs, nor of a gap that is soon filled.
            self._scheduler.wait_idle(left)
            left.wait(_SETTLES_S)

    def Learn(
        self, request_iterator: Iterator[pb.Snapshot], context: grpc.ServicerContext
    ) -> pb.LearnResponse:
        """Store a snapshot."""
        self._targets.snapshots.put(codec.snapshot_from_wire(request_iterator))
        return pb.LearnResponse()

    def _pools(self) -> list[party_pb2.Pool]:
        ready = self._pool.counts()
        return [
            party_pb2.Pool(
                cohort=self._targets.cohort(kind),
                batch=kind.shape[0],
                ready=ready.get(kind, 0),
                wanted=self._settings.low,
            )
            for kind in self._targets.kinds()
            if not kind.one_subject
        ]
