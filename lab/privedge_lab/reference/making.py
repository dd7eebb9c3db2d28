"""Two parties that make their randomness themselves, in one process, and what each sees of that.

Making and supplies are those of the servers (parties/mpc/twoparty); only the transport differs.
Holds all secrets of both parties: for tests, and attacks on synthetic or public data.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from parties.mpc.dealing import SessionId
from parties.mpc.tuples import TupleKind
from parties.mpc.twoparty.learned import Models
from parties.mpc.twoparty.live import Live
from parties.mpc.twoparty.maker import TwoParty
from privedge_lab.reference.recording import QueueLink, RecordingBundle, RecordingLink

T = TypeVar("T")


class TwoParties:
    """Both ends of one pairing, which serves one run after another. No useful repr."""

    def __init__(self, models: Models) -> None:
        """`models`: a name for each owner's model, whose weights runs are with."""
        self._models = models
        self._queues = QueueLink.pair()
        self._links = tuple(map(RecordingLink, self._queues))
        self._ends = self._both(lambda index: TwoParty(index, self._links[index]))

    def live(self) -> tuple[Live, Live]:
        """Supplies whose tuples are made during the run. What they use is what a later run of the
        same kind uses, once nothing of the weights is new.
        """
        run = SessionId(os.urandom(16))
        first, second = (Live(run, end, self._models) for end in self._ends)
        return first, second

    def bundles(
        self, plan: Sequence[TupleKind], count: int
    ) -> list[tuple[RecordingBundle, RecordingBundle]]:
        """Both parties' shares of a lot of bundles of this plan, each with the lot's messages."""
        runs = [SessionId(os.urandom(16)) for _ in range(count)]
        for link in self._links:
            link.clear()

        def side(index: int) -> list[RecordingBundle]:
            made = self._ends[index].bundles(plan, runs, self._models)
            return [RecordingBundle(each, self._links[index]) for each in made]

        return list(zip(*self._both(side), strict=True))

    def _both(self, side: Callable[[int], T]) -> tuple[T, T]:
        """What `side` returns for each party, in step. If one fails, the other does not wait."""

        def ends(index: int) -> T:
            try:
                return side(index)
            except BaseException:
                self._queues[index].hang_up()
                raise

        with ThreadPoolExecutor(1) as thread:
            second = thread.submit(ends, 1)
            return ends(0), second.result()
