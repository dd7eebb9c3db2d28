"""Failures of preparing: they must end neither the thread nor fill the log. Queries go on live."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from parties.worker.task import Kind
from privedge.errors import PrivEdgeError

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0


class Backoff:
    """Failures in a row, by kind. The first one is logged; after each the pause is longer."""

    def __init__(self) -> None:
        self._in_a_row: dict[Kind, int] = {}

    @contextmanager
    def kept_in(self, what: str, kind: Kind) -> Iterator[None]:
        """What the block raises goes no further."""
        try:
            yield
        except Exception as error:  # whatever it is, other kinds and queries must not suffer
            if kind not in self._in_a_row:
                log.warning("%s for shape %s failed: %s", what, kind.shape, reason(error))
            self.add(kind)
        else:
            self._in_a_row.pop(kind, None)

    def add(self, kind: Kind) -> None:
        """Another failure, which somebody else logs."""
        self._in_a_row[kind] = self._in_a_row.get(kind, 0) + 1

    def pause_s(self, kind: Kind) -> float:
        """For how long to leave that kind alone now."""
        before = max(0, min(self._in_a_row.get(kind, 0) - 1, 10))
        return min(_FIRST_PAUSE_S * (1 << before), _LONGEST_PAUSE_S)

    def only(self, kinds: list[Kind]) -> None:
        """Forget all others."""
        for kind in self._in_a_row.keys() - set(kinds):
            del self._in_a_row[kind]


def reason(error: Exception) -> str:
    """Our own texts say nothing secret; those of others might."""
    return str(error) if isinstance(error, PrivEdgeError) else type(error).__name__
