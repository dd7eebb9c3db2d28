"""How many runs went without an audited bundle (docs/protocol.md#audit). Sees public facts only.

The audit finds a dealer that deals wrongly in bundles. A dealer that fails every lot, or a party
that breaks off every audit, brings it about that there are none: then queries are computed with
randomness that nobody checks, or are refused. This is how operators hear of it.
"""

import threading
from collections import Counter
from collections.abc import Mapping

# A dealer that forges one bundle in ten is found within so many with probability .99.
IN_A_ROW = 50


class Unaudited:
    """Since the start, for clients' queries only. Safe to call from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: Counter[str] = Counter()
        self._in_a_row: Counter[str] = Counter()

    def add(self, cohort: str, *, audited: bool) -> None:
        """Count a run that was computed, or refused because it would have been unaudited."""
        with self._lock:
            self._runs[cohort] += not audited
            self._in_a_row[cohort] = 0 if audited else self._in_a_row[cohort] + 1

    def runs(self) -> Mapping[str, int]:
        """By cohort, how many were unaudited."""
        with self._lock:
            return dict(self._runs)

    def fault(self) -> str:
        """Which cohorts have had no audited run for long; empty if all had."""
        with self._lock:
            cohorts = [name for name, runs in self._in_a_row.items() if runs >= IN_A_ROW]
        named = ", ".join(sorted(cohorts))
        return f"the last {IN_A_ROW} runs had no audited bundle: cohort {named}" if named else ""
