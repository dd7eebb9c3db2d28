"""The queries of a front end. Sees one share of each query and of each answer, as bytes.

    1.  client -> both parties    the question, and to each party its own share of the images
    2.  each party                pins the snapshot that the client named
    3.  party 1 -> party 0        which queries it holds (WatchHalves; inbox.py, pairing.py)
    4.  party 0                   queues what both hold; with a free worker, takes a run's worth
                                  (batch_queue.py), orders it at party 1 (StartRun; leader.py) and
                                  starts its worker, which waits there for the other one
    5.  party 1                   checks that it holds the same and starts its worker (follower.py);
                                  otherwise party 0 gives the run up
    6.  both workers              compute; each front end passes its answer shares on (runs.py)

Party 0 leads, so there is one order of runs; party 1 never starts one by itself.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from parties.config.party import PartyConfig
from parties.party.models.cohorts import Snapshot, find_for
from parties.party.models.service import ModelService
from parties.party.queries.counters import Counters, QueryCounters
from parties.party.queries.intake import Intake
from parties.party.queries.pending import PendingQuery
from parties.party.queries.unaudited import Unaudited
from parties.party.workers.messages import AnswerBytes
from parties.party.workers.processes import WorkerPool
from parties.remembered import Remembered
from privedge import traces
from privedge.errors import AlreadyExists, LimitExceeded, ShareError
from privedge.graph.spec import ModelSpec
from privedge.identity.roles import Identity
from privedge.log import name_requests
from privedge.ran.narrow import as_narrow, word_bits
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import MayLeave
from privedge.sharing.question import MAX_IMAGES_OF_ONE_SUBJECT, ROWS_ASKED_AGAIN, Question
from privedge.sharing.ring import RING_BITS

log = logging.getLogger(__name__)

_REMEMBERED_IDS = 1 << 16

# Reads the head of a client's stream: the question, and its words, still to be read, in pieces.
ReadQuery = Callable[[], tuple[Question, Iterable[bytes]]]


class QueryService:
    """Accepts queries and gets them answered. Safe to call from many threads."""

    def __init__(
        self,
        config: PartyConfig,
        models: ModelService,
        pool: WorkerPool,
        counters: Counters,
        answer: Callable[[PendingQuery], AnswerBytes],
        intake: Intake,
    ) -> None:
        """`answer` waits for the answer share of a query that has arrived in full: Leader.answer or
        Follower.answer. `intake` says which queries may be accepted.
        """
        self._intake = intake
        self._config = config
        self._models = models
        self._pool = pool
        self._counters = counters
        self._answer = answer
        self._lock = threading.Lock()
        self._used_ids = Remembered(_REMEMBERED_IDS)

    @property
    def deadline_s(self) -> float:
        """How long a query may take, and after that the sending of its answer."""
        return self._config.query_deadline_s

    def answered(
        self, read: ReadQuery, who: Identity, deadline: Deadline, client: MayLeave
    ) -> AnswerBytes:
        """Read one query of the client `who`, and return its answer share.

        Raises what the query is refused for or ends with.
        """
        with self._intake.query(), self._counters.query():
            question, pieces = read()
            name_requests([question.query_id])
            # First of all: for others there is no such cohort, whatever else is wrong.
            find_for(self._models.cohorts, question.cohort, who)
            self._intake.require(question.cohort)
            self._use_once(question.query_id)
            with (
                traces.span("party query", cohort=question.cohort, images=question.shape[0]),
                self._models.pin(question.cohort, question.snapshot_id) as snapshot,
            ):
                self._check(question, snapshot)
                with self._charged(question, who) as charged:
                    words = as_narrow(
                        self._joined(question, pieces), question.word_bits, snapshot.cohort.spec
                    )
                    query = PendingQuery(question, snapshot, words, who.name, deadline)
                    charged.append(query)
                    if not client.add_callback(query.leave):
                        query.leave()
                    answer = self._answer(query)
                self._models.asked.add(snapshot, query.images)
        log.info("query %s: answered", question.query_id)
        return answer

    @property
    def unaudited(self) -> Unaudited:
        """Runs without an audited bundle."""
        return self._counters.unaudited

    def counters(self) -> QueryCounters:
        """The counters now."""
        return self._counters.read(self._pool.pids)

    def _check(self, question: Question, snapshot: Snapshot) -> None:
        batch, *sample = question.shape
        if tuple(sample) != snapshot.cohort.spec.input_shape:
            raise ShareError("query: its shape is not that of the cohort's architecture")
        if batch > (most := snapshot.cohort.rows(self._config.limits.max_batch)):
            raise LimitExceeded(f"query: at most {most} images at once")
        if question.again and batch > ROWS_ASKED_AGAIN:
            raise LimitExceeded(f"query: at most {ROWS_ASKED_AGAIN} images to settle a doubt")
        if question.one_subject and batch > MAX_IMAGES_OF_ONE_SUBJECT:
            raise LimitExceeded(f"query: at most {MAX_IMAGES_OF_ONE_SUBJECT} images of one subject")
        if question.word_bits not in (RING_BITS, word_bits(snapshot.cohort.spec)):
            raise ShareError("query: the cohort has words of another width")
        if isinstance(snapshot.cohort.spec, ModelSpec):
            _require_plain(question)
        owner = question.verify_owner
        if owner is not None and owner not in snapshot.owners:
            raise ShareError("query: the cohort has no such owner")

    @contextmanager
    def _charged(self, question: Question, who: Identity) -> Iterator[list[PendingQuery]]:
        """Charge the client for its images. The charge is on disk when the block ends, and given
        back if the block raises before a run with the query has begun; the block says the query.

        The write goes on while the query is computed, so it delays next to none.
        """
        images, queries = question.shape[0], list[PendingQuery]()
        count = partial(
            self._models.audit.count, "queries", {"client": who.name, "cohort": question.cohort}
        )
        try:
            charge = self._models.budgets.query(
                who.name, question.cohort, images, question.verify_owner, again=question.again
            )
        except LimitExceeded:
            count(refused=1)
            raise
        try:
            yield queries
            charge.require_lasting(queries[0].deadline.remaining())
        except BaseException:
            count(failed=1)
            if not any(query.begun for query in queries):
                charge.give_back()
            raise
        count(answered=1, images=images)

    def _joined(self, question: Question, pieces: Iterable[bytes]) -> bytes:
        expected = question.share_bytes
        received = bytearray()
        for piece in pieces:
            received += piece
            if len(received) > expected:
                break
        self._counters.received(len(received))
        if len(received) != expected:
            raise ShareError(f"query: its share is not the {expected} bytes announced")
        return bytes(received)

    def _use_once(self, query_id: str) -> None:
        used = bytes.fromhex(query_id)
        with self._lock:
            if used in self._used_ids:
                raise AlreadyExists(f"query {query_id}: this id was used before")
            self._used_ids.add(used)


def _require_plain(question: Question) -> None:
    """Raise ShareError for a question that only RANs answer."""
    if question.verify_owner is not None or question.one_subject or question.again:
        raise ShareError("query: the cohort serves a model, which has only whole answers")
