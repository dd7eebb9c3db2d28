"""One query on its way through a front end, from its last byte to its answer share.

The thread that serves the client waits here, and the thread of a worker settles the query. Sees one
share of the query and of the answer, as bytes.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from parties.party.models.cohorts import Snapshot
from parties.party.workers.messages import AnswerBytes, Checked
from privedge import traces
from privedge.errors import ManifestMismatch, Unreachable
from privedge.rpc.deadline import Deadline
from privedge.sharing.question import Question

# How often a waiting query checks whether it should go on waiting.
LOOK_S = 2.0

# Queries of one kind can be computed together.
Kind = tuple[str, str, str]


@dataclass(frozen=True)
class QueryRef:
    """One query by id (32 hexadecimal digits) and digest of its question and client: what the front
    ends tell each other of it.
    """

    query_id: str
    question_digest: bytes


@dataclass(frozen=True)
class Run:
    """Everything about a run on which both parties must agree.

    `session` is 16 fresh random bytes of party 0, `worker` the number of the pair of workers. The
    images of the queries are concatenated in this order.
    """

    session: bytes
    worker: int
    queries: tuple[QueryRef, ...]


class PendingQuery:
    """A query that has arrived in full at this party. No repr: `words` is a share."""

    def __init__(
        self,
        question: Question,
        snapshot: Snapshot,
        words: bytes,
        client: str,
        deadline: Deadline,
        *,
        enrolling: str | None = None,
    ) -> None:
        """`client` is the name in the certificate of its client. `enrolling`: the owner whose new
        model is checked; then the answer is whether anybody else is named.
        """
        self.enrolling = enrolling
        # Of a check of the snapshot's one model, which has one answer; set before it waits.
        self.check: Checked | None = None
        self.question = question
        self.client = client
        self.snapshot = snapshot
        self.words = words
        self.deadline = deadline
        # Seconds of time.perf_counter: when the query had arrived in full at this party, and when
        # this party knew that it had at both.
        self.arrived = time.perf_counter()
        self.trace = traces.here()
        self.ready: float | None = None
        # Whether a run with it has begun at this party: then it is charged, whatever follows.
        self.begun = False
        # Its place among the queries that wait (turns.py).
        self.turn = 0
        self._changed = threading.Condition()
        self._outcome: AnswerBytes | Exception | None = None
        self._left = False
        self._when_left: list[Callable[[], None]] = []

    @property
    def id(self) -> str:
        """The query id, 32 hexadecimal digits."""
        return self.question.query_id

    @cached_property
    def ref(self) -> QueryRef:
        """What the other front end is told of it."""
        return QueryRef(self.id, self.question.digest(self.client))

    @property
    def images(self) -> int:
        """How many images the client sent."""
        return self.question.shape[0]

    @property
    def answers(self) -> int:
        """How many rows of a run's answer belong to this query."""
        return 1 if self.question.one_subject or self.check else self.images

    @property
    def of_client(self) -> bool:
        """Whether a client asks, and neither check of a new model."""
        return self.enrolling is None and self.check is None

    @property
    def alone(self) -> bool:
        """Whether it must have a run of its own: it has one answer for all its images, or asks for
        one owner only, or for anybody but one, or checks a model.
        """
        one = self.question.verify_owner is not None or not self.of_client
        return self.question.one_subject or one

    @property
    def kind(self) -> Kind:
        """Equal for queries that may share a run."""
        return self.question.cohort, self.snapshot.id, self.id if self.alone else ""

    def settle(self, outcome: AnswerBytes | Exception) -> None:
        """Give it its answer share, or the error it ends with. Only the first outcome counts."""
        with self._changed:
            if self._outcome is None:
                self._outcome = outcome
                self._changed.notify_all()

    def leave(self) -> None:
        """Its client has left, or has its answer. May be called again."""
        self.settle(Unreachable("the client left"))
        with self._changed:
            self._left = True
            callbacks, self._when_left = self._when_left, []
        for callback in callbacks:
            callback()

    def when_left(self, callback: Callable[[], None]) -> None:
        """Call `callback` once its client has left; at once if it has already."""
        with self._changed:
            if not self._left:
                self._when_left.append(callback)
                return
        callback()

    @property
    def settled(self) -> bool:
        """Whether it has its outcome."""
        return self._outcome is not None

    def wait(self, look: Callable[[], object] = lambda: None) -> AnswerBytes:
        """Return the answer share. Raises what the query ends with, DeadlineExceeded at its
        deadline, and whatever `look` raises, which is called every LOOK_S.
        """
        with self._changed:
            while self._outcome is None:
                self._changed.wait(min(LOOK_S, self.deadline.remaining()))
                if self._outcome is None:
                    look()
            if isinstance(self._outcome, Exception):
                raise self._outcome
            return self._outcome


def settle(queries: Sequence[PendingQuery], error: Exception) -> None:
    """End all queries alike, except those that have an outcome."""
    for query in queries:
        query.settle(error)


def mismatch(query_id: str) -> ManifestMismatch:
    """What a query ends with whose shares came to the two parties with different questions."""
    return ManifestMismatch(f"query {query_id}: its shares differ in shape, question or cohort")


class Waiters:
    """The clients of one run's queries. As the caller of a call (rpc.server.MayLeave) they leave
    when the last of them does, so the call is cancelled then.
    """

    def __init__(self, queries: Sequence[PendingQuery]) -> None:
        self._lock = threading.Lock()
        self._waiting = len(queries)
        self._callbacks: list[Callable[[], None]] = []
        for query in queries:
            query.when_left(self._one_left)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call `callback` when the last client has left. False, and no call, if it has already."""
        with self._lock:
            if self._waiting > 0:
                self._callbacks.append(callback)
            return self._waiting > 0

    def dismiss(self) -> None:
        """Act as if all clients had left."""
        with self._lock:
            self._waiting = 0
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def served(self) -> None:
        """The run is over, so nothing is left to cancel."""
        with self._lock:
            self._callbacks = []

    def _one_left(self) -> None:
        with self._lock:
            self._waiting -= 1
            last = self._waiting == 0
        if last:
            self.dismiss()
