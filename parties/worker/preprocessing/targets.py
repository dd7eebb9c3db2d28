"""What to be ready for: the kinds of run that queries are likely to be. Sees public facts only."""

import threading
import time
from collections.abc import Callable, Sequence

from parties.bounded_dict import BoundedDict
from parties.config import PoolSection
from parties.worker.snapshot_cache import SnapshotCache
from parties.worker.task import Kind, Method, Task, parsed
from privedge.wire import worker_pb2 as pb

# Kinds remembered because somebody asked: batch sizes differ, and few are asked often.
_RECENT = 8


class PoolTargets:
    """The snapshots in use and the kinds asked last. Safe to call from several threads."""

    def __init__(
        self,
        settings: PoolSection,
        method: Method,
        known: SnapshotCache,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called after every change."""
        self.known = known
        self._settings = settings
        self._method = method
        self._changed = changed
        self._lock = threading.Lock()
        self._snapshots: dict[str, pb.Snapshot] = {}
        self._recent: BoundedDict[Kind, None] = BoundedDict(_RECENT)
        self._settled_at = 0.0

    def keep(self, snapshot_ids: Sequence[str]) -> None:
        """These are in use from now on, and no others. Raises UnknownModel."""
        snapshots = [self.known.get(each) for each in snapshot_ids]
        with self._lock:
            self._snapshots = {snapshot.id: snapshot for snapshot in snapshots}
            self._settled_at = time.monotonic() + self._settings.settle_s
            for kind in [each for each in self._recent if each.snapshot_id not in self._snapshots]:
                del self._recent[kind]
        self._changed()

    def asked(self, kind: Kind) -> None:
        """A query of this kind has come."""
        with self._lock:
            if kind.snapshot_id not in self._snapshots:
                return
            new = kind not in self._recent
            self._recent[kind] = None
        if new:
            self._changed()

    @property
    def any(self) -> bool:
        """Whether this party prepares at all. Only the fused engine has a use for bundles."""
        return self._method.engine == "fused" and self._settings.bundles > 0

    def kinds(self) -> list[Kind]:
        """The most wanted first."""
        if not self.any:
            return []
        with self._lock:
            recent = list(self._recent)[::-1]
            snapshots = list(self._snapshots.values())
        usual = [
            Kind(snapshot.id, (batch, *parsed(snapshot.spec_json).input_shape))
            for snapshot in snapshots
            for batch in self._settings.batches
        ]
        return [*recent, *(kind for kind in usual if kind not in recent)]

    def unsettled_s(self) -> float:
        """Seconds until the models may be taken as settled; 0 or less if they are."""
        with self._lock:
            return self._settled_at - time.monotonic()

    def task(self, kind: Kind) -> Task | None:
        """A run of that kind, if its snapshot is in use."""
        with self._lock:
            snapshot = self._snapshots.get(kind.snapshot_id)
        return Task.of_kind(kind, snapshot, self._method) if snapshot else None

    def cohort(self, kind: Kind) -> str:
        """The name of the kind's cohort; empty if its snapshot is not in use."""
        with self._lock:
            snapshot = self._snapshots.get(kind.snapshot_id)
        return snapshot.cohort if snapshot else ""
