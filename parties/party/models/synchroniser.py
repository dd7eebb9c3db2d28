"""Sends party 1 the lists of active models: at party 0's start, and while party 1 is behind."""

import logging
import threading

from parties.party.models.service import ModelService
from privedge.errors import Refused

log = logging.getLogger(__name__)

# Not longer, because queries are refused until party 1 has the list.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 5.0


class Synchroniser:
    """A thread of party 0."""

    def __init__(self, models: ModelService) -> None:
        self._models = models
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="synchroniser", daemon=True)

    def start(self) -> None:
        """Begin with one synchronisation of all cohorts."""
        self._models.behind.set()
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self._models.behind.set()
        self._thread.join()

    def _run(self) -> None:
        wait_s, told = _FIRST_WAIT_S, ""
        while True:
            self._models.behind.wait()
            if self._stopping.is_set():
                return
            self._models.behind.clear()
            try:
                self._models.synchronise()
                wait_s, told = _FIRST_WAIT_S, ""
            except Exception as error:  # a disk's, or party 1 is away: this thread must go on
                # The text of other errors may say more than a log should.
                said = str(error) if isinstance(error, Refused) else type(error).__name__
                if said != told:  # a refusal may last for hours
                    told = said
                    log.warning("party 1 does not follow yet: %s", said)
                self._stopping.wait(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                self._models.behind.set()
