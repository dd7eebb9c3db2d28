"""What a party holds, in numbers: models by cohort and state, the trash, the disk. No names."""

from collections.abc import Mapping

from parties.party.models.cohorts import Cohort
from parties.party.models.disk import Disk, Space
from parties.party.models.registry import Registry
from parties.party.models.share_files import ShareFiles
from parties.party.models.tables import State


class Holdings:
    """Safe to call from several threads."""

    def __init__(
        self, cohorts: Mapping[str, Cohort], registry: Registry, files: ShareFiles, disk: Disk
    ) -> None:
        self._cohorts = cohorts
        self._registry = registry
        self._files = files
        self._disk = disk

    def models(self) -> dict[tuple[str, State], int]:
        """By cohort of this party's file and state, how many models there are."""
        counts = self._registry.counts()
        return {
            (cohort, state): counts.get((cohort, state), 0)
            for cohort in self._cohorts
            for state in State
        }

    def quarantine_fault(self) -> str:
        """How many models of which cohorts no query asks; empty if all are asked."""
        counts = self.models()
        lines = []
        for cohort in self._cohorts:
            if left_out := counts[cohort, State.QUARANTINED]:
                asked = counts[cohort, State.ACTIVE]
                lines.append(f"cohort {cohort}: {left_out} of {left_out + asked} models")
        return "; ".join(lines)

    def space(self) -> Space:
        """Of the disk. Raises OSError."""
        return self._disk.space()

    def trash(self) -> tuple[int, int]:
        """How many files wait in the trash, and their bytes. Raises OSError."""
        return self._files.in_trash()
