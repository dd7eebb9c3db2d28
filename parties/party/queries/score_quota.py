"""Which answers' scores this party counts: of one client only so many in a period.

So one client's part of a histogram is bounded, and the noise hides it. Each party decides for
itself, and an answer counts if both do (docs/how-to/telemetry.md).
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from parties.party.queries.pending import PendingQuery
from parties.party.workers.messages import NOT_COUNTED, Counted


class ScoreQuota:
    """The answers that were counted, by cohort and client. Safe to call from many threads."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since 1970."""
        self._clock = clock
        self._lock = threading.Lock()
        self._periods: dict[str, int] = {}
        self._counts: dict[str, Counter[str]] = {}

    def counted(self, queries: Sequence[PendingQuery]) -> Counted:
        """For each answer of a run of these queries, whether it counts; empty without telemetry.

        A check at enrolment never does: it is nobody's query, and asks under a name of its own for
        each model, so no bound on one client would hold for its owner.
        """
        cohort = queries[0].snapshot.cohort
        if cohort.telemetry is None:
            return NOT_COUNTED
        period = int(self._clock() // cohort.telemetry.period_s)
        found: list[bool] = []
        with self._lock:
            # Of a clock that was set back: that period's quota is known no more.
            back = period < self._periods.get(cohort.name, period)
            if not back and self._periods.get(cohort.name) != period:
                self._periods[cohort.name], self._counts[cohort.name] = period, Counter()
            counts = self._counts[cohort.name]
            for query in queries:
                left = cohort.telemetry.answers_per_client - counts[query.client]
                taken = 0 if back or query.enrolling else max(0, min(left, query.answers))
                if taken:
                    counts[query.client] += taken
                found += [place < taken for place in range(query.answers)]
        return Counted(tuple(found), period)
