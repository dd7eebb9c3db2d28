"""Tells a worker which models queries may be asked against, so that it can get ready for them."""

import threading
from collections.abc import Sequence
from typing import Any

import grpc

from parties.config import PartyConfig
from parties.party.models.cohorts import Snapshot
from parties.party.models.service import ModelService
from parties.party.workers.briefing import pieces
from privedge.wire import party_pb2, worker_pb2, worker_pb2_grpc

# After a call that ended by itself: the worker died, and another one is on its way.
_PAUSE_S = 0.5
# Models that come one after another are told of together, when none has come for so long.
_QUIET_S = 0.25


class SnapshotFeed:
    """A thread of a front end, for one worker. `pools` is what that worker has ready."""

    def __init__(
        self, config: PartyConfig, models: ModelService, stub: worker_pb2_grpc.WorkerStub
    ) -> None:
        self.pools: Sequence[party_pb2.Pool] = ()
        self._config = config
        self._models = models
        self._stub = stub
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._call: Any = None
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

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
        while not self._stopping.is_set():
            self._wait_quiet()
            snapshots = [each for each in self._models.snapshots() if each.models]
            self.pools = self._none_yet(snapshots)
            try:
                self._keep(snapshots)
            except (grpc.RpcError, grpc.FutureCancelledError):
                self.pools = self._none_yet(snapshots)
            if not self._changed.is_set():
                self._stopping.wait(_PAUSE_S)

    def _wait_quiet(self) -> None:
        self._changed.clear()
        while not self._stopping.is_set() and self._changed.wait(_QUIET_S):
            self._changed.clear()

    def _keep(self, snapshots: Sequence[Snapshot]) -> None:
        """Say what there is, and listen until it changes. Raises what gRPC does."""
        for snapshot in snapshots:
            self._begun(self._stub.Learn.future(pieces(snapshot), wait_for_ready=True)).result()
        request = worker_pb2.KeepRequest(snapshot_ids=[each.id for each in snapshots])
        for response in self._begun(self._stub.Keep(request, wait_for_ready=True)):
            self.pools = tuple(response.pools)

    def _begun(self, call: Any) -> Any:
        """`call`, which a change from now on cancels, or one since the models were read did."""
        self._call = call
        if self._changed.is_set() or self._stopping.is_set():
            call.cancel()
        return call

    def _none_yet(self, snapshots: Sequence[Snapshot]) -> list[party_pb2.Pool]:
        settings = self._config.pool
        if self._config.engine != "fused" or not settings.bundles:
            return []
        return [
            party_pb2.Pool(cohort=snapshot.cohort.name, batch=batch, wanted=settings.bundles)
            for snapshot in snapshots
            for batch in settings.batches
        ]


def added_up(pools: Sequence[party_pb2.Pool]) -> list[party_pb2.Pool]:
    """Of several workers: one entry for each cohort and batch size."""
    sums: dict[tuple[str, int], party_pb2.Pool] = {}
    for each in pools:
        total = sums.setdefault(
            (each.cohort, each.batch), party_pb2.Pool(cohort=each.cohort, batch=each.batch)
        )
        total.ready += each.ready
        total.wanted += each.wanted
    return list(sums.values())
