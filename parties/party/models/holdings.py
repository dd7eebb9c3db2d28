"""What a party holds, in numbers: models by cohort and state, the trash, the disk. No names."""

import threading
from collections.abc import Mapping

from parties.party.models.cohorts import Cohort
from parties.party.models.disk import Disk, Space
from parties.party.models.registry import Registry
from parties.party.models.share_files import ShareFiles
from parties.party.models.tables import State
from privedge.errors import Unreachable


class Holdings:
    """Safe to call from several threads."""

    def __init__(
        self, cohorts: Mapping[str, Cohort], registry: Registry, files: ShareFiles, disk: Disk
    ) -> None:
        self._cohorts = cohorts
        self._registry = registry
        self._files = files
        self._disk = disk
        self._changed = threading.Event()
        self._changed.set()
        self._left_out = ""

    def changed(self) -> None:
        """The active models have changed."""
        self._changed.set()

    def models(self) -> dict[tuple[str, State], int]:
        """By cohort of this party's file and state, how many models there are. Raises Unreachable
        while the database is away.
        """
        counts = self._registry.counts()
        return {
            (cohort, state): counts.get((cohort, state), 0)
            for cohort in self._cohorts
            for state in State
        }

    def quarantine_fault(self) -> str:
        """How many models of which cohorts no query asks; empty if all are asked.

        It is asked every second, so it reads the registry only after a change. While the database
        is away, it says what it said last.
        """
        if self._changed.is_set():
            self._changed.clear()
            try:
                self._left_out = self._counted()
            except Unreachable:
                self._changed.set()
        return self._left_out

    def space(self) -> Space:
        """Of the disk. Raises OSError."""
        return self._disk.space()

    def trash(self) -> tuple[int, int]:
        """How many files wait in the trash, and their bytes. Raises OSError."""
        return self._files.in_trash()

    def _counted(self) -> str:
        counts, lines = self.models(), []
        for cohort in self._cohorts:
            if left_out := counts[cohort, State.QUARANTINED]:
                asked = counts[cohort, State.ACTIVE]
                lines.append(f"cohort {cohort}: {left_out} of {left_out + asked} models")
        return "; ".join(lines)
