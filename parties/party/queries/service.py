"""The query half of a front end. Sees one share of each query and of each answer, as bytes.

    1.  client -> both parties    question and one share of the batch, to each its own
    2.  each party                pins the snapshot the client named
    3.  party 1 -> party 0        which halves are there (WatchHalves; inbox.py, pairing.py)
    4.  party 0                   lines up what both hold; with a free worker, takes a run's worth
                                  (batch_queue.py), orders it at party 1 (StartRun; leader.py) and
                                  starts its worker, which waits there for the other one
    5.  party 1                   checks that it holds the same, starts its worker (follower.py);
                                  or else party 0 gives the run up
    6.  both workers              compute; each front end passes its answer shares on (runs.py)

Party 0 leads, so there is one order of runs; party 1 never starts one by itself.
"""

import logging
import threading
from collections.abc import Iterator

import grpc

from parties.bounded_dict import BoundedDict
from parties.config import PartyConfig
from parties.party.models.cohorts import Snapshot
from parties.party.models.service import ModelService
from parties.party.queries.counters import Counters
from parties.party.queries.desk import QueryCounters, Side
from parties.party.queries.pending import PendingQuery
from parties.party.workers.processes import WorkerPool
from parties.serving.admission import Admission
from parties.serving.handshake import Handshake
from parties.serving.time_limit import given_up_after, timely
from privedge.errors import AlreadyExists, LimitExceeded, ShareError
from privedge.identity.roles import Identity
from privedge.rpc import codec
from privedge.rpc.chunks import cut
from privedge.rpc.deadline import Deadline
from privedge.sharing.question import MAX_IMAGES_OF_ONE_SUBJECT, Question
from privedge.sharing.ring import WORD_BYTES
from privedge.wire import party_pb2 as pb

log = logging.getLogger(__name__)

_REMEMBERED_IDS = 1 << 16


class QueryService:
    """Takes queries in and gets them answered: desk.QueryDesk. Safe to call from many threads."""

    def __init__(
        self,
        config: PartyConfig,
        models: ModelService,
        pool: WorkerPool,
        tally: Counters,
        side: Side,
        handshake: Handshake,
    ) -> None:
        """`side` is what this party does with a query that it has in full; `handshake` says which
        queries it may take.
        """
        self._handshake = handshake
        self._config = config
        self._models = models
        self._pool = pool
        self._tally = tally
        self._side = side
        self._admission = Admission(config.limits)
        self._lock = threading.Lock()
        self._seen: BoundedDict[str, None] = BoundedDict(_REMEMBERED_IDS)

    def answer(
        self,
        request_iterator: Iterator[pb.QueryRequest],
        caller: Identity,
        context: grpc.ServicerContext,
    ) -> Iterator[pb.QueryResponse]:
        """Read one query stream to its end and give the answer stream."""
        with self._admission.one(caller.name):
            with self._tally.query():
                deadline = Deadline.of(context, at_most_s=self._config.query_deadline_s)
                requests = timely(request_iterator, deadline.remaining(), context)
                first = next(requests, pb.QueryRequest())
                if first.WhichOneof("part") != "header":
                    raise ShareError("query: the first message must be the header")
                question = codec.question_from_wire(first.header)
                self._handshake.require(question.cohort)
                self._use_once(question.query_id)
                with self._models.pin(question.cohort, question.snapshot_id) as snapshot:
                    self._check(question, snapshot)
                    asked = PendingQuery(
                        question, snapshot, self._read(question, requests), deadline
                    )
                    if not context.add_callback(asked.leave):
                        asked.leave()
                    answer = self._side.answer(asked)
            log.info("query %s: answered", question.query_id)
            header = pb.AnswerHeader(shape=answer.shape, cost=codec.cost_to_wire(answer.cost))
            with given_up_after(self._config.query_deadline_s, context):
                yield pb.QueryResponse(header=header)
                for piece in cut(answer.words):
                    yield pb.QueryResponse(words=piece)

    def counters(self) -> QueryCounters:
        """The counters as they are now."""
        return self._tally.read(self._pool.pids)

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
        self._tally.received(len(received))
        if len(received) != expected:
            raise ShareError(f"query: its share is not the {expected} bytes announced")
        return bytes(received)

    def _use_once(self, query_id: str) -> None:
        with self._lock:
            if query_id in self._seen:
                raise AlreadyExists(f"query {query_id}: asked before")
            self._seen[query_id] = None
