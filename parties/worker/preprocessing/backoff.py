"""Failures of preprocessing. They must not end its thread or fill the log: queries go on without
bundles meanwhile.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from parties.worker.task import Kind
from privedge.errors import PrivEdgeError

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


class Backoff:
    """Counts failures in a row by kind. Only the first is logged; each makes the pause longer."""

    def __init__(self) -> None:
        self._in_a_row: dict[Kind, int] = {}

    @contextmanager
    def catching(self, what: str, kind: Kind) -> Iterator[None]:
        """Count and swallow what the block raises; a block that raises nothing resets the count."""
        try:
            yield
        except Exception as error:  # whatever it is, other kinds and queries must not suffer
            if kind not in self._in_a_row:
                log.warning("%s for shape %s failed: %s", what, kind.shape, reason(error))
            self.count(kind)
        else:
            self._in_a_row.pop(kind, None)

    def count(self, kind: Kind) -> None:
        """Count a failure that is logged elsewhere."""
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1

    def pause_s(self, kind: Kind) -> float:
        """Seconds for which to leave this kind alone now."""
        before = max(0, min(self._in_a_row.get(kind, 0) - 1, 10))
        return min(_FIRST_PAUSE_S * (1 << before), _LONGEST_PAUSE_S)

    def keep_only(self, kinds: list[Kind]) -> None:
        """Forget the failures of all other kinds."""
        for kind in self._in_a_row.keys() - set(kinds):
            del self._in_a_row[kind]


def reason(error: Exception) -> str:
    """What to log of an error: our own texts say nothing secret, those of others might."""
    return str(error) if isinstance(error, PrivEdgeError) else type(error).__name__
