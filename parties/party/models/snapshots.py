"""The active models of each cohort as they are now, and which snapshots runs still need.

Sees public facts and this party's salts. Every query needs both, and a cohort may have thousands of
models. So the registry is read once per change, and a snapshot's files are held once.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from parties.party.models.cohorts import Cohort, Snapshot, SnapshotModel
from parties.party.models.registry import Registry
from parties.party.models.share_files import ShareFiles
from parties.party.models.tables import Model
from privedge.errors import Unreachable


class Snapshots:
    """What the registry says of each cohort. Not safe to call from several threads.

    service.py has a lock around it, and calls `changed` after every change of the registry.
    """

    def __init__(self, registry: Registry, files: ShareFiles) -> None:
        self._registry = registry
        self._files = files
        self._current: dict[str, Snapshot] = {}
        # Cohorts that the registry may say something else of by now.
        self._stale: set[str] = set()

    def now(self, cohort: Cohort) -> Snapshot:
        """The active models now; there may be none.

        While the registry's database is away they are those of before: what the other party knows
        of, and whose shares are here, because nothing can be changed. Raises Unreachable if the
        registry was never read.
        """
        known = self._current.get(cohort.name)
        if known is not None and cohort.name not in self._stale:
            return known
        try:
            snapshot = Snapshot(cohort, self._read(cohort.name))
        except Unreachable:
            if known is None:
                raise
            return known
        self._stale.discard(cohort.name)
        self._current[cohort.name] = snapshot
        return snapshot

    def changed(self) -> None:
        """Read the registry again."""
        self._stale.update(self._current)

    def added(self, before: Snapshot, rows: Sequence[Model]) -> Snapshot:
        """These models became their owners' active ones; nothing else changed since `before`."""
        owners = {row.owner for row in rows}
        models = [other for other in before.models if other.owner not in owners]
        models.extend(map(self._model, rows))
        # Two sorted runs, which is quick.
        models.sort(key=lambda each: each.owner)
        after = self._current[before.cohort.name] = Snapshot(before.cohort, tuple(models))
        self._stale.discard(before.cohort.name)
        return after

    def alone(self, cohort: Cohort, row: Model) -> Snapshot:
        """A snapshot of one model that is not active, for its check: of no query, so without the
        cohort's rivals and telemetry.
        """
        bare = replace(cohort, rivals=None, telemetry=None)
        return Snapshot(bare, (self._model(row),), checked=True)

    def _read(self, cohort: str) -> tuple[SnapshotModel, ...]:
        return tuple(self._model(row) for row in self._registry.active(cohort))

    def _model(self, row: Model) -> SnapshotModel:
        return SnapshotModel(
            owner=row.owner,
            model_id=row.model_id,
            manifest_digest=row.manifest_digest,
            manifest_json=row.manifest_json,
            path=self._files.path(row.model_id),
            salt=self._files.salt(row),
            version=row.version,
            commitments=row.commitments,
        )


class Holds:
    """Counts who needs a snapshot's share files on disk. Safe to call from many threads."""

    def __init__(self, files: ShareFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._held: dict[str, ExitStack] = {}

    @contextmanager
    def hold(self, snapshot: Snapshot) -> Iterator[None]:
        """Keep the files until the block ends, even if the models are removed meanwhile."""
        with self._lock:
            self._counts[snapshot.id] = self._counts.get(snapshot.id, 0) + 1
            if self._counts[snapshot.id] == 1:
                stack = self._held[snapshot.id] = ExitStack()
                stack.enter_context(self._files.hold(snapshot.model_ids))
        try:
            yield
        finally:
            with self._lock:
                self._counts[snapshot.id] -= 1
                if not self._counts[snapshot.id]:
                    del self._counts[snapshot.id]
                    self._held.pop(snapshot.id).close()
