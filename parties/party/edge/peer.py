"""Party 1 as party 0 sees it. Ids and digests only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from privedge.rpc.status import calls_to
from privedge.wire import peer_pb2 as pb
from privedge.wire.peer_pb2_grpc import PeerStub


@dataclass(frozen=True)
class ModelRef:
    """One model by id and manifest digest (SHA-256, hex)."""

    model_id: str
    manifest_digest: str


class Peer(Protocol):
    """What activation needs of party 1. Every call raises Unreachable or DeadlineExceeded."""

    def prepare(self, ref: ModelRef) -> None:
        """Raises UnknownModel (not uploaded there) or ManifestMismatch (dropped there)."""
        ...

    def set_active(self, cohort: str, refs: Sequence[ModelRef]) -> None:
        """Raises ManifestMismatch if party 1 lacks a listed model."""
        ...

    def add_active(self, cohort: str, since: str, ref: ModelRef) -> None:
        """Raises ManifestMismatch if party 1 lacks the model, or has not the snapshot `since`."""
        ...


class PeerClient:
    """A Peer over gRPC."""

    def __init__(self, stub: PeerStub, name: str, *, timeout_s: float = 10.0) -> None:
        """`name` is for messages: "party 1 (host:port)"."""
        self._stub = stub
        self._name = name
        self._timeout_s = timeout_s

    def prepare(self, ref: ModelRef) -> None:
        """PrepareModel."""
        request = pb.PrepareModelRequest(model=_to_wire(ref))
        with calls_to(self._name):
            self._stub.PrepareModel(request, timeout=self._timeout_s)

    def set_active(self, cohort: str, refs: Sequence[ModelRef]) -> None:
        """SetActiveModels."""
        models = [_to_wire(ref) for ref in refs]
        request = pb.SetActiveModelsRequest(cohort=cohort, models=models)
        with calls_to(self._name):
            self._stub.SetActiveModels(request, timeout=self._timeout_s)

    def add_active(self, cohort: str, since: str, ref: ModelRef) -> None:
        """AddActiveModel."""
        request = pb.AddActiveModelRequest(cohort=cohort, since=since, model=_to_wire(ref))
        with calls_to(self._name):
            self._stub.AddActiveModel(request, timeout=self._timeout_s)


def _to_wire(ref: ModelRef) -> pb.ModelRef:
    return pb.ModelRef(model_id=ref.model_id, manifest_digest=ref.manifest_digest)
