"""Keeps a worker told which models queries may name, so that it prepares for them."""

import threading
from collections.abc import Sequence
from typing import Any

import grpc

from parties.config.party import PartyConfig
from parties.party.edge.worker_client import WorkerClient
from parties.party.models.cohorts import Snapshot
from parties.party.models.service import ModelService
from parties.party.workers.messages import PoolLevel
from privedge.errors import Unreachable

# After a call that ended by itself: the worker died, and another one is starting.
_PAUSE_S = 0.5
# Models that become active one after another are told of together, once none has for so long.
_QUIET_S = 0.25


class SnapshotFeed:
    """A thread of a front end, for one worker. `levels` is what that worker has ready."""

    def __init__(self, config: PartyConfig, models: ModelService, worker: WorkerClient) -> None:
        self.levels: Sequence[PoolLevel] = ()
        self._config = config
        self._models = models
        self._worker = worker
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(target=self._run, name="snapshot feed", daemon=True)

    def start(self) -> None:
        """Begin, and follow every change of the models."""
        self._models.watch(self._tell)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self._tell()
        self._thread.join()

    def _tell(self) -> None:
        self._changed.set()
        if self._call is not None:
            self._call.cancel()

    def _run(self) -> None:
        snapshots: Sequence[Snapshot] = ()
        while not self._stopping.is_set():
            self._wait_quiet()
            try:
                snapshots = [each for each in self._models.snapshots() if each.models]
                self.levels = self._nothing_ready(snapshots)
                self._feed(snapshots)
            # Unreachable: the registry's database is away.
            except (grpc.RpcError, grpc.FutureCancelledError, Unreachable):
                self.levels = self._nothing_ready(snapshots)
            if not self._changed.is_set():
                self._stopping.wait(_PAUSE_S)

    def _wait_quiet(self) -> None:
        self._changed.clear()
        while not self._stopping.is_set() and self._changed.wait(_QUIET_S):
            self._changed.clear()

    def _feed(self, snapshots: Sequence[Snapshot]) -> None:
        """Describe all snapshots, then follow what the worker has ready. A change of the models
        cancels the call. Raises what gRPC does.
        """
        for snapshot in snapshots:
            self._begun(self._worker.begin_describing(snapshot)).result()
        for kept in self._begun(self._worker.prepare_for(snapshots)):
            self.levels = kept.levels
            self._models.quarantine.suspect(kept.damaged)

    def _begun(self, call: Any) -> Any:
        """Return `call`, which `_tell` will cancel, or cancels now if the models have changed."""
        self._call = call
        if self._changed.is_set() or self._stopping.is_set():
            call.cancel()
        return call

    def _nothing_ready(self, snapshots: Sequence[Snapshot]) -> list[PoolLevel]:
        settings = self._config.pool
        if self._config.engine != "fused" or not settings.bundles:
            return []
        return [
            PoolLevel(snapshot.cohort.name, batch, 0, settings.bundles)
            for snapshot in snapshots
            for batch in settings.batches
            if batch == snapshot.cohort.rows(batch)
        ]


def added_up(levels: Sequence[PoolLevel]) -> list[PoolLevel]:
    """The levels of several workers, as one for each cohort and batch size."""
    sums: dict[tuple[str, int], PoolLevel] = {}
    for each in levels:
        key = (each.cohort, each.batch)
        before = sums.get(key, PoolLevel(*key, ready=0, wanted=0))
        ready, wanted = before.ready + each.ready, before.wanted + each.wanted
        sums[key] = PoolLevel(*key, ready, wanted)
    return list(sums.values())
