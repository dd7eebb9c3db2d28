"""One run of a worker for one query or several: put together, computed, taken apart again.

Sees one share of queries and answers, as bytes. Both parties put the same queries behind one
another in the same order, so the same rows are the same query's.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from parties.party.models.service import ModelService
from parties.party.queries.counters import Counters
from parties.party.queries.pending import PendingQuery, Waiters
from parties.party.workers.processes import AnswerBytes, WorkerProcess
from privedge.errors import PrivEdgeError, UnknownModel
from privedge.rpc.deadline import Deadline
from privedge.sharing.ring import WORD_BYTES
from privedge.wire import peer_pb2, worker_pb2

log = logging.getLogger(__name__)


class Runs:
    """Runs of one front end. Safe to call from many threads."""

    def __init__(self, models: ModelService, tally: Counters) -> None:
        self._models = models
        self._tally = tally

    def compute(
        self,
        worker: WorkerProcess,
        order: peer_pb2.StartRunRequest,
        queries: Sequence[PendingQuery],
        audience: Waiters,
    ) -> None:
        """Settle every query with its own rows.

        The run is given up when `audience` leaves, and lasts no longer than the most patient of
        the queries. Raises whatever it ends with; then no query is settled.
        """
        started = time.perf_counter()
        deadline = Deadline(max(asked.deadline.at for asked in queries))
        words = b"".join(asked.words for asked in queries)
        snapshot = queries[0].snapshot
        try:
            with self._tally.run(len(queries)), self._models.hold(snapshot):
                job = _job(order, queries)
                try:
                    answer = worker.run(job, words, deadline, audience)
                except UnknownModel:
                    # Nothing has begun: the worker is a new one, or the models changed just now.
                    worker.learn(snapshot, deadline)
                    answer = worker.run(job, words, deadline, audience)
            for asked, share in _parts(answer, queries, started):
                asked.settle(share)
            log.info(
                "run of %d queries, %d images: %d rounds",
                *(len(queries), _images(queries), answer.cost.rounds),
            )
        finally:
            audience.served()


def _job(order: peer_pb2.StartRunRequest, queries: Sequence[PendingQuery]) -> worker_pb2.Job:
    """What the worker is told. Both parties derive it from the same order and questions."""
    question, snapshot = queries[0].question, queries[0].snapshot
    job = worker_pb2.Job(
        session=order.session,
        snapshot_id=snapshot.id,
        shape=(_images(queries), *question.shape[1:]),
        one_subject=question.one_subject,
    )
    if question.verify_owner is not None:
        job.verify_position = snapshot.owners.index(question.verify_owner)
    return job


def _images(queries: Sequence[PendingQuery]) -> int:
    return sum(asked.images for asked in queries)


def _parts(
    answer: AnswerBytes, queries: Sequence[PendingQuery], started: float
) -> Iterator[tuple[PendingQuery, AnswerBytes]]:
    """Each query with its rows of the answer, and with its own waiting in the cost."""
    rows, *row = answer.shape
    size = WORD_BYTES * math.prod(row)
    if rows != sum(asked.answers for asked in queries) or len(answer.words) != rows * size:
        raise PrivEdgeError("the worker's answer has not as many rows as there are questions")
    done = time.perf_counter()
    start = 0
    for asked in queries:
        end = start + asked.answers * size
        cost = replace(
            answer.cost,
            queue_s=max(0.0, started - asked.arrived),
            online_s=done - (asked.ready or asked.arrived),
        )
        yield asked, AnswerBytes((asked.answers, *row), answer.words[start:end], cost)
        start = end
