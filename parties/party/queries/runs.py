"""One run of a worker for one query or several: it joins their shares, lets the worker compute, and
cuts the answer apart again. Sees one share of queries and answers, as bytes.

Both parties join the same queries in the same order, so the same rows belong to the same query.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from parties.party.edge.worker_client import WorkerClient
from parties.party.models.service import ModelService
from parties.party.queries.counters import Counters
from parties.party.queries.pending import PendingQuery, Waiters
from parties.party.queries.score_quota import ScoreQuota
from parties.party.workers.messages import AnswerBytes, Anybody, Counted, Job
from privedge import traces
from privedge.errors import Busy, PrivEdgeError, UnknownModel
from privedge.rpc.deadline import Deadline
from privedge.sharing.cost import Cost
from privedge.sharing.ring import WORD_BYTES

log = logging.getLogger(__name__)


class Runs:
    """Runs of one front end. Safe to call from many threads."""

    def __init__(
        self,
        models: ModelService,
        counters: Counters,
        measured: Callable[[str, Cost], object] = lambda *_: None,
    ) -> None:
        """`measured` is told the cohort and the cost of each query that was answered."""
        self._models = models
        self._counters = counters
        self._measured = measured
        self._quota = ScoreQuota()

    def compute(
        self,
        worker: WorkerClient,
        session: bytes,
        queries: Sequence[PendingQuery],
        waiters: Waiters,
    ) -> None:
        """Settle every query with its own rows of the answer.

        The run is cancelled when `waiters` leave, and may last until the latest deadline of the
        queries. Raises what it ends with; then no query is settled.
        """
        started = time.perf_counter()
        deadline = Deadline(max(query.deadline.at for query in queries))
        words = b"".join(query.words for query in queries)
        snapshot = queries[0].snapshot
        try:
            with (
                traces.span("party run", [query.trace for query in queries], queries=len(queries)),
                self._counters.run(len(queries)),
                self._models.hold(snapshot),
            ):
                job = _job(session, queries, self._quota.counted(queries))
                for query in queries:
                    query.begun = True
                answer = self._answered(worker, job, words, queries, deadline, waiters)
            for query, share in _parts(answer, queries, started):
                query.settle(share)
                self._measured(query.question.cohort, share.cost)
            log.info(
                "run of %d queries, %d images: %d rounds",
                *(len(queries), _images(queries), answer.cost.rounds),
            )
        finally:
            waiters.served()

    def _answered(
        self,
        worker: WorkerClient,
        job: Job,
        words: bytes,
        queries: Sequence[PendingQuery],
        deadline: Deadline,
        waiters: Waiters,
    ) -> AnswerBytes:
        snapshot = queries[0].snapshot
        try:
            try:
                answer = worker.run(job, words, deadline, waiters)
            except UnknownModel:
                # Nothing has begun: the worker is a new one, or the models changed just now.
                worker.describe(snapshot, deadline)
                answer = worker.run(job, words, deadline, waiters)
        except Busy:
            # It would have been unaudited. No answer share has left, so it is not charged.
            for query in queries:
                query.begun = False
            if queries[0].of_client:
                self._counters.unaudited.add(snapshot.cohort.name, audited=False)
            raise
        if queries[0].of_client:
            self._counters.unaudited.add(snapshot.cohort.name, audited=not answer.unaudited)
        return answer


def _job(session: bytes, queries: Sequence[PendingQuery], counted: Counted) -> Job:
    """What the worker is told. Both parties derive it from the same order and questions."""
    question, snapshot = queries[0].question, queries[0].snapshot
    owner = question.verify_owner
    return Job(
        session=session,
        snapshot_id=snapshot.id,
        shape=(_images(queries), *question.shape[1:]),
        one_subject=question.one_subject,
        verify_position=None if owner is None else snapshot.owners.index(owner),
        counted=counted,
        anybody=_anybody(queries[0]),
        check=queries[0].check,
    )


def _anybody(query: PendingQuery) -> Anybody | None:
    """What a check at enrolment asks; None for a client's query."""
    if query.enrolling is None:
        return None
    owners = query.snapshot.owners
    own = tuple(at for at, owner in enumerate(owners) if owner == query.enrolling)
    return Anybody(own, query.snapshot.cohort.enrolment_margin)


def _images(queries: Sequence[PendingQuery]) -> int:
    return sum(query.images for query in queries)


def _parts(
    answer: AnswerBytes, queries: Sequence[PendingQuery], started: float
) -> Iterator[tuple[PendingQuery, AnswerBytes]]:
    """Each query with its rows of the answer, and with its own times in the cost."""
    rows, *row = answer.shape
    size = WORD_BYTES * math.prod(row)
    if rows != sum(query.answers for query in queries) or len(answer.words) != rows * size:
        raise PrivEdgeError("the worker's answer has not as many rows as there are questions")
    done = time.perf_counter()
    start = 0
    for query in queries:
        end = start + query.answers * size
        cost = replace(
            answer.cost,
            queue_s=max(0.0, started - query.arrived),
            online_s=done - (query.ready or query.arrived),
        )
        yield query, AnswerBytes((query.answers, *row), answer.words[start:end], cost)
        start = end
