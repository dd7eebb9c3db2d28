"""Which kinds of run to prepare bundles for: those that queries are likely to ask for next. Sees
public facts only.
"""

import threading
import time
from collections.abc import Callable, Sequence

from parties.bounded_dict import BoundedDict
from parties.config.sections import PoolSection
from parties.mpc.audit import opened_of
from parties.worker.snapshot_cache import Snapshot, SnapshotCache
from parties.worker.task import Kind, Method, Task
from privedge.graph.spec import ModelSpec

# How many kinds of recent queries are remembered: batch sizes differ, and few come often.
_RECENT = 8
# Bundles of one session: all of them are held, beside the pool, until the last one is drawn.
_AT_ONCE = 8
# No order may have more of them opened: what [pool] `opened` can ask for at most.
MOST_OPENED = opened_of(_AT_ONCE, 0.9)


class PoolTargets:
    """The snapshots in use and the kinds of recent queries. Safe to call from several threads."""

    def __init__(
        self,
        settings: PoolSection,
        method: Method,
        snapshots: SnapshotCache,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called after every change."""
        self.snapshots = snapshots
        self._settings = settings
        self._method = method
        self._changed = changed
        self._lock = threading.Lock()
        self._in_use: dict[str, Snapshot] = {}
        self._recent: BoundedDict[Kind, None] = BoundedDict(_RECENT)
        self._settled_at = 0.0

    def use(self, snapshot_ids: Sequence[str]) -> None:
        """From now on these snapshots are in use and no others. Raises UnknownModel."""
        snapshots = [self.snapshots.get(each) for each in snapshot_ids]
        with self._lock:
            self._in_use = {snapshot.id: snapshot for snapshot in snapshots}
            self._settled_at = time.monotonic() + self._settings.settle_s
            for kind in [each for each in self._recent if each.snapshot_id not in self._in_use]:
                del self._recent[kind]
        self._changed()

    def note_query(self, kind: Kind) -> None:
        """A query of this kind has come."""
        with self._lock:
            if kind.snapshot_id not in self._in_use:
                return
            new = kind not in self._recent
            self._recent[kind] = None
        if new:
            self._changed()

    @property
    def enabled(self) -> bool:
        """Whether this party prepares at all. Only the fused engine can use bundles."""
        return self._method.engine == "fused" and self._settings.bundles > 0

    @property
    def opened(self) -> float:
        """The share of all bundles that is opened for an audit: of a dealer's alone."""
        return self._settings.opened if self._method.randomness == "dealer" else 0.0

    def kinds(self) -> list[Kind]:
        """All targets, the likeliest first: recent queries, then the configured batch sizes."""
        if not self.enabled:
            return []
        with self._lock:
            recent = list(self._recent)[::-1]
            snapshots = list(self._in_use.values())
        usual = [
            Kind(snapshot.id, (batch, *snapshot.spec.input_shape))
            for snapshot in snapshots
            for batch in self._settings.batches
            if not isinstance(snapshot.spec, ModelSpec) or batch <= snapshot.spec.most_rows
        ]
        return [*recent, *(kind for kind in usual if kind not in recent)]

    def missing(self, ready: int) -> int:
        """How many bundles of a kind to draw in one session when `ready` are there; 1 at least."""
        return min(_AT_ONCE, max(1, self._settings.bundles - ready))

    def audit_of(self, kept: int) -> int:
        """How many bundles must be opened at least for so many that are kept."""
        return opened_of(kept, self.opened)

    def model_ids(self) -> frozenset[str]:
        """Of all models of the snapshots in use."""
        with self._lock:
            snapshots = list(self._in_use.values())
        return frozenset(file.path.stem for snapshot in snapshots for file in snapshot.models)

    def unsettled_s(self) -> float:
        """Seconds until the models count as settled; 0 or less if they do."""
        with self._lock:
            return self._settled_at - time.monotonic()

    def task(self, kind: Kind) -> Task | None:
        """A run of that kind; None if its snapshot is not in use."""
        with self._lock:
            snapshot = self._in_use.get(kind.snapshot_id)
        return Task.of_kind(kind, snapshot, self._method) if snapshot else None

    def cohort(self, kind: Kind) -> str:
        """The name of the kind's cohort; empty if its snapshot is not in use."""
        with self._lock:
            snapshot = self._in_use.get(kind.snapshot_id)
        return snapshot.cohort if snapshot else ""
