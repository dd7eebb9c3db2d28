"""Refreshes the shares of a cohort by the clock. A thread of party 0."""

import logging
import threading

from parties.party.models.service import ModelService

log = logging.getLogger(__name__)

_HOUR_S = 3600.0
# How often the age of the shares is looked at, at most.
_LOOK_S = 60.0


class Refresher:
    """It goes by the age of the shares, so a restart neither delays a refresh nor hastens it."""

    def __init__(self, models: ModelService, hours: float) -> None:
        """Refresh a cohort once a share of it is `hours` old; never if that is 0."""
        self._models = models
        self._every_s = hours * _HOUR_S
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refresher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; a refresh that is being prepared is dropped."""
        self._stopping.set()
        self._models.refreshes.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._every_s and not self._stopping.wait(min(_LOOK_S, self._every_s / 2)):
            try:
                for cohort in self._models.refreshes.older_than(
                    self._every_s, self._models.cohorts
                ):
                    self._models.refresh(cohort)
            except Exception as error:  # a disk's, or party 1 is away: the next look may succeed
                log.warning("the shares are not refreshed: %s", error or type(error).__name__)
