"""The query half of a front end. Sees one share of each query and of each answer, as bytes.

    1.  client -> both parties    question and one share of the batch, to each its own
    2.  each party                pins the snapshot the client named
    3.  party 0                   borrows a worker, orders the run at party 1 (StartQuery)
    4.  party 1                   checks that question and snapshot are the same, starts its worker
    5.  both workers              compute; each front end passes its answer share to the client

Party 0 leads, so there is one order of runs; party 1 never starts one by itself.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import grpc

from parties.config import PartyConfig
from parties.front_end.cohorts import Snapshot
from parties.front_end.desk import QueryCounters
from parties.front_end.inbox import Inbox
from parties.front_end.models import Models
from parties.front_end.time_limit import given_up_after, timely
from parties.front_end.workers import Answer, Worker, WorkerPool
from privedge.errors import (
    AlreadyExists,
    LimitExceeded,
    ManifestMismatch,
    OutOfTime,
    ShareError,
    Unreachable,
)
from privedge.identity.roles import Identity
from privedge.rpc import codec
from privedge.rpc.chunks import cut
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import cancel_with
from privedge.rpc.status import calls_to
from privedge.sharing.question import MAX_IMAGES_OF_ONE_SUBJECT, Question
from privedge.sharing.ring import WORD_BYTES
from privedge.wire import party_pb2 as pb
from privedge.wire import peer_pb2, peer_pb2_grpc, worker_pb2

log = logging.getLogger(__name__)

_SESSION_BYTES = 16
_REMEMBERED_IDS = 1 << 16
_PEER = "party 1"


@dataclass(frozen=True)
class _Asked:
    """One query as it came in. `words` is this party's share of the batch."""

    question: Question
    snapshot: Snapshot
    words: bytes = field(repr=False)
    deadline: Deadline
    context: grpc.ServicerContext
    arrived: float


class Queries:
    """Takes queries in and gets them answered: desk.QueryDesk. Safe to call from many threads."""

    def __init__(
        self,
        config: PartyConfig,
        models: Models,
        pool: WorkerPool,
        peer: peer_pb2_grpc.PeerStub | None,
    ) -> None:
        """`peer` is party 1's front end at party 0, and None at party 1."""
        self._config = config
        self._models = models
        self._pool = pool
        self._peer = peer
        self._inbox = Inbox()
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._answered = self._failed = self._running = self._bytes = 0

    def answer(
        self,
        request_iterator: Iterator[pb.QueryRequest],
        caller: Identity,
        context: grpc.ServicerContext,
    ) -> Iterator[pb.QueryResponse]:
        """Read one query stream to its end and give the answer stream."""
        with self._counted():
            deadline = Deadline.of(context, at_most_s=self._config.query_deadline_s)
            requests = timely(request_iterator, deadline.remaining(), context)
            first = next(requests, pb.QueryRequest())
            if first.WhichOneof("part") != "header":
                raise ShareError("query: the first message must be the header")
            question = codec.question_from_wire(first.header)
            self._use_once(question.query_id)
            with self._models.pin(question.cohort, question.snapshot_id) as snapshot:
                self._check(question, snapshot)
                words = self._read(question, requests)
                asked = _Asked(question, snapshot, words, deadline, context, time.perf_counter())
                answer = self._follow(asked) if self._peer is None else self._lead(asked)
        log.info("query %s: answered, %d rounds", question.query_id, answer.cost.rounds)
        header = pb.AnswerHeader(shape=answer.shape, cost=codec.cost_to_wire(answer.cost))
        with given_up_after(self._config.query_deadline_s, context):
            yield pb.QueryResponse(header=header)
            for piece in cut(answer.words):
                yield pb.QueryResponse(words=piece)

    def start(self, order: peer_pb2.StartQueryRequest) -> None:
        """Party 1: hand party 0's order to the query it is for."""
        self._inbox.order(order)

    def counters(self) -> QueryCounters:
        """The counters as they are now."""
        with self._lock:
            return QueryCounters(
                answered=self._answered,
                failed=self._failed,
                running=self._running,
                bytes_received=self._bytes,
                worker_pids=self._pool.pids,
            )

    # --- The two sides ----------------------------------------------------------------------------

    def _lead(self, asked: "_Asked") -> Answer:
        """Party 0: steps 3 and 5."""
        with self._pool.one(asked.deadline) as worker:
            if not asked.context.is_active():
                # Its other half has left too: the worker would wait for it in vain.
                raise Unreachable("the client left")
            order = peer_pb2.StartQueryRequest(
                query_id=bytes.fromhex(asked.question.query_id),
                session=os.urandom(_SESSION_BYTES),
                attempt=0,
                worker=worker.slot,
                cohort=asked.question.cohort,
                snapshot_id=asked.snapshot.id,
                header_sha256=asked.question.digest(),
            )
            self._order(order, asked)
            return self._run(worker, order, asked)

    def _order(self, order: peer_pb2.StartQueryRequest, asked: "_Asked") -> None:
        if self._peer is None:
            raise AssertionError("party 1 does not order")
        try:
            with calls_to(_PEER):
                call = self._peer.StartQuery.future(order, timeout=asked.deadline.remaining())
                cancel_with(asked.context, call)
                call.result()
        except (ManifestMismatch, OutOfTime):
            # Party 1 may have refused its half because it lacks the newest list of models.
            self._models.behind.set()
            raise

    def _follow(self, asked: "_Asked") -> Answer:
        """Party 1: steps 4 and 5."""
        order = self._inbox.wait(asked.question, asked.deadline, asked.context)
        return self._run(self._worker(order.worker), order, asked)

    def _run(self, worker: Worker, order: peer_pb2.StartQueryRequest, asked: "_Asked") -> Answer:
        queued = time.perf_counter() - asked.arrived
        job = _job(order, asked.question, asked.snapshot)
        with self._held():
            answer = worker.run(job, asked.words, asked.deadline, asked.context)
        return Answer(answer.shape, answer.words, replace(answer.cost, queue_s=queued))

    def _worker(self, slot: int) -> Worker:
        if slot >= len(self._pool.workers):
            raise LimitExceeded("party 0 has more workers than this party; set `workers` alike")
        return self._pool.workers[slot]

    # --- Checks and counters ----------------------------------------------------------------------

    def _check(self, question: Question, snapshot: Snapshot) -> None:
        batch, *sample = question.shape
        if tuple(sample) != snapshot.cohort.spec.input_shape:
            raise ShareError("query: its shape is not that of the cohort's architecture")
        if batch > self._config.limits.max_batch:
            raise LimitExceeded(f"query: at most {self._config.limits.max_batch} images at once")
        if question.one_subject and batch > MAX_IMAGES_OF_ONE_SUBJECT:
            raise LimitExceeded(f"query: at most {MAX_IMAGES_OF_ONE_SUBJECT} images of one subject")
        owner = question.verify_owner
        if owner is not None and owner not in snapshot.owners:
            raise ShareError("query: the cohort has no such owner")

    def _read(self, question: Question, requests: Iterator[pb.QueryRequest]) -> bytes:
        expected = WORD_BYTES * question.words
        received = bytearray()
        for request in requests:
            received += request.words
            if len(received) > expected:
                break
        with self._lock:
            self._bytes += len(received)
        if len(received) != expected:
            raise ShareError(f"query: its share is not the {expected} bytes announced")
        return bytes(received)

    def _use_once(self, query_id: str) -> None:
        with self._lock:
            if query_id in self._seen:
                raise AlreadyExists(f"query {query_id}: asked before")
            self._seen[query_id] = None
            while len(self._seen) > _REMEMBERED_IDS:
                self._seen.popitem(last=False)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            with self._lock:
                self._failed += 1
            raise
        with self._lock:
            self._answered += 1

    @contextmanager
    def _held(self) -> Iterator[None]:
        """While a query has a worker."""
        with self._lock:
            self._running += 1
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1


def _job(
    order: peer_pb2.StartQueryRequest, question: Question, snapshot: Snapshot
) -> worker_pb2.Job:
    """What a worker is told. Both parties derive it from the same order, question and snapshot."""
    job = worker_pb2.Job(
        session=order.session,
        attempt=order.attempt,
        snapshot_id=snapshot.id,
        spec_json=snapshot.cohort.spec.to_json(),
        models=[
            worker_pb2.ModelFile(
                path=str(model.path), manifest_json=model.manifest_json, salt=model.salt
            )
            for model in snapshot.models
        ],
        shape=question.shape,
        margin=snapshot.cohort.margin,
        one_subject=question.one_subject,
    )
    if question.verify_owner is not None:
        job.verify_position = snapshot.owners.index(question.verify_owner)
    return job
