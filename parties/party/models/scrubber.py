"""Reads every share again now and then, so that damage is found before a restart needs the file.

It reads while no query runs, a file at a time. Damaged shares are looked at every second, because
somebody may have put the file back.
"""

import time
from collections.abc import Callable

from parties.party.models.service import ModelService
from parties.periodic import Periodic

_LOOK_S = 1.0
_PAUSE_S, _PAUSES = 0.1, 50
_HOUR_S = 3600.0


class Scrubber:
    """Works in a thread of a front end."""

    def __init__(self, models: ModelService, hours: float, busy: Callable[[], bool]) -> None:
        """Read each share once in so many `hours`, or never if that is 0. `busy`: a query runs."""
        self._models = models
        self._every_s = hours * _HOUR_S
        self._busy = busy
        self._waiting: list[str] = []
        self._next_at = time.monotonic()
        self._thread = Periodic("scrubber", self._look, _LOOK_S)
        self.start, self.stop = self._thread.start, self._thread.stop

    def _look(self) -> None:
        self._models.quarantine.look_again()
        while self._every_s and time.monotonic() >= self._next_at and not self._thread.stopping():
            self._read_one()

    def _read_one(self) -> None:
        if not self._waiting:
            self._waiting = self._models.in_use()
        # The files of one round are read at equal intervals.
        self._next_at = time.monotonic() + self._every_s / max(len(self._waiting), 1)
        if self._waiting:
            self._models.quarantine.suspect([self._waiting.pop()], self._pause)

    def _pause(self) -> None:
        """Before each piece of a file. Not for ever, because some servers are never idle."""
        for _ in range(_PAUSES):
            if not self._busy() or self._thread.stopping(_PAUSE_S):
                return
