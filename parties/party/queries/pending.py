"""One query on its way through a front end, from its last byte to its answer share.

The thread that serves the client waits here; the thread of a worker settles it. Sees one share of
the query and of the answer, as bytes.
"""

import threading
import time
from collections.abc import Callable, Sequence

from parties.party.models.cohorts import Snapshot
from parties.party.workers.processes import AnswerBytes
from privedge.errors import Unreachable
from privedge.rpc.deadline import Deadline
from privedge.sharing.question import Question

# How often a waiting query asks whether waiting still makes sense.
LOOK_S = 2.0

# Queries of one kind can be computed together.
Kind = tuple[str, str, str]


class PendingQuery:
    """A query in full at this party. No repr: `words` is a share."""

    def __init__(
        self, question: Question, snapshot: Snapshot, words: bytes, deadline: Deadline
    ) -> None:
        self.question = question
        self.snapshot = snapshot
        self.words = words
        self.deadline = deadline
        # In seconds of time.perf_counter: when it was in full here, and when this party knew that
        # it was in full at both.
        self.arrived = time.perf_counter()
        self.ready: float | None = None
        self._changed = threading.Condition()
        self._outcome: AnswerBytes | Exception | None = None
        self._left = False
        self._tell: list[Callable[[], None]] = []

    @property
    def id(self) -> str:
        """The query id, 32 hexadecimal digits."""
        return self.question.query_id

    @property
    def images(self) -> int:
        """How many the client sent."""
        return self.question.shape[0]

    @property
    def answers(self) -> int:
        """How many rows of a run's answer are this query's."""
        return 1 if self.question.one_subject else self.images

    @property
    def alone(self) -> bool:
        """Whether it must have a run of its own: its images are not asked about one by one, or not
        about the whole cohort.
        """
        return self.question.one_subject or self.question.verify_owner is not None

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
        """Its client has gone, or has its answer. May be called again."""
        self.settle(Unreachable("the client left"))
        with self._changed:
            self._left = True
            told, self._tell = self._tell, []
        for tell in told:
            tell()

    def when_left(self, tell: Callable[[], None]) -> None:
        """Call `tell` once its client has left; at once if it has already."""
        with self._changed:
            if not self._left:
                self._tell.append(tell)
                return
        tell()

    @property
    def settled(self) -> bool:
        """Whether nobody waits for it any more."""
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
    """End them all alike, except those that have an outcome."""
    for asked in queries:
        asked.settle(error)


class Waiters:
    """Those who wait for one run. To a call made on their behalf it is what a servicer context is:
    somebody who may leave. It leaves with the last of them.
    """

    def __init__(self, queries: Sequence[PendingQuery]) -> None:
        self._lock = threading.Lock()
        self._waiting = len(queries)
        self._callbacks: list[Callable[[], None]] = []
        for asked in queries:
            asked.when_left(self._one_left)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call it when everybody has left. False, and no call, if they have already."""
        with self._lock:
            if self._waiting > 0:
                self._callbacks.append(callback)
            return self._waiting > 0

    def dismiss(self) -> None:
        """Act as if everybody had left."""
        with self._lock:
            self._waiting = 0
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def served(self) -> None:
        """The run is over: there is nothing left to call."""
        with self._lock:
            self._callbacks = []

    def _one_left(self) -> None:
        with self._lock:
            self._waiting -= 1
            last = self._waiting == 0
        if last:
            self.dismiss()
