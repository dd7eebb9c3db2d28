"""Empties the trash by the clock, and takes the disk's reserve again. Never at a start."""

import logging
import threading

from parties.party.models.service import ModelService

log = logging.getLogger(__name__)

_EVERY_S = 600.0


class TrashKeeper:
    """A thread of a front end."""

    def __init__(self, models: ModelService, *, every_s: float = _EVERY_S) -> None:
        self._models = models
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trash keeper", daemon=True)

    def start(self) -> None:
        """Begin; the first look is later."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._models.empty_trash()
            except Exception as error:  # a disk's or database's: the next look may succeed
                log.warning("the trash is not emptied: %s", type(error).__name__)
