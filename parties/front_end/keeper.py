"""Tells a worker which models queries may be asked against, so that it can get ready for them."""

import threading
from collections.abc import Sequence

import grpc

from parties.config import PartyConfig
from parties.front_end.cohorts import Snapshot
from parties.front_end.models import Models
from privedge.wire import party_pb2, worker_pb2, worker_pb2_grpc

# After a call that ended by itself: the worker died, and another one is on its way.
_PAUSE_S = 0.5


class Keeper:
    """A thread of a front end, for one worker. `pools` is what that worker has ready."""

    def __init__(
        self, config: PartyConfig, models: Models, stub: worker_pb2_grpc.WorkerStub
    ) -> None:
        self.pools: Sequence[party_pb2.Pool] = ()
        self._config = config
        self._models = models
        self._stub = stub
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._call: grpc.Call | None = None
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
            self._changed.clear()
            snapshots = [each for each in self._models.snapshots() if each.models]
            self.pools = self._none_yet(snapshots)
            request = worker_pb2.KeepRequest(snapshots=[as_message(each) for each in snapshots])
            call = self._call = self._stub.Keep(request, wait_for_ready=True)
            if self._changed.is_set():
                call.cancel()
            try:
                for response in call:
                    self.pools = tuple(response.pools)
            except grpc.RpcError:
                self.pools = self._none_yet(snapshots)
            if not self._changed.is_set():
                self._stopping.wait(_PAUSE_S)

    def _none_yet(self, snapshots: Sequence[Snapshot]) -> list[party_pb2.Pool]:
        settings = self._config.pool
        if self._config.engine != "fused" or not settings.bundles:
            return []
        return [
            party_pb2.Pool(cohort=snapshot.cohort.name, batch=batch, wanted=settings.bundles)
            for snapshot in snapshots
            for batch in settings.batches
        ]


def as_message(snapshot: Snapshot) -> worker_pb2.Snapshot:
    """What a worker is told of a snapshot."""
    return worker_pb2.Snapshot(
        cohort=snapshot.cohort.name,
        id=snapshot.id,
        spec_json=snapshot.cohort.spec.to_json(),
        models=[
            worker_pb2.ModelFile(
                path=str(model.path), manifest_json=model.manifest_json, salt=model.salt
            )
            for model in snapshot.models
        ],
        margin=snapshot.cohort.margin,
    )


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
