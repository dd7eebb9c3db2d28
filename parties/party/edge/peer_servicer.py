"""What party 1 does on party 0's word (peer.proto): decode, call, encode. Ids and digests only."""

from collections.abc import Iterator

import grpc

from parties.party.edge.hello import Hello
from parties.party.edge.peer import ModelRef
from parties.party.models.service import ModelService
from parties.party.queries.desk import Ordered
from privedge.rpc import codec
from privedge.wire import peer_pb2 as pb
from privedge.wire import peer_pb2_grpc


class PeerServicer(peer_pb2_grpc.PeerServicer):
    """Serves party 0. Holds no state of its own."""

    def __init__(self, models: ModelService, ordered: Ordered, hello: Hello) -> None:
        self._models = models
        self._ordered = ordered
        self._hello = hello

    def Hello(self, request: pb.Terms, context: grpc.ServicerContext) -> pb.Terms:
        """Exchange terms."""
        return self._hello.from_party(request)

    def PrepareModel(
        self, request: pb.PrepareModelRequest, context: grpc.ServicerContext
    ) -> pb.PrepareModelResponse:
        """Agree to a model, or drop it."""
        self._models.prepare(_from_wire(request.model))
        return pb.PrepareModelResponse()

    def SetActiveModels(
        self, request: pb.SetActiveModelsRequest, context: grpc.ServicerContext
    ) -> pb.SetActiveModelsResponse:
        """Take over party 0's list of a cohort."""
        self._models.follow(request.cohort, [_from_wire(model) for model in request.models])
        return pb.SetActiveModelsResponse()

    def AddActiveModel(
        self, request: pb.AddActiveModelRequest, context: grpc.ServicerContext
    ) -> pb.AddActiveModelResponse:
        """Add one model to the snapshot that party 0 had before."""
        self._models.add(request.cohort, request.since, _from_wire(request.model))
        return pb.AddActiveModelResponse()

    def WatchHalves(
        self, request: pb.WatchHalvesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.HalvesChange]:
        """Say which halves are here, as long as party 0 listens."""
        return self._ordered.changes(context)

    def RefuseHalf(
        self, request: pb.RefuseHalfRequest, context: grpc.ServicerContext
    ) -> pb.RefuseHalfResponse:
        """Refuse one half."""
        self._ordered.refuse(request.query_id)
        return pb.RefuseHalfResponse()

    def StartRun(
        self, request: pb.StartRunRequest, context: grpc.ServicerContext
    ) -> pb.StartRunResponse:
        """Begin one run."""
        return pb.StartRunResponse(missing=self._ordered.order(request))


def _from_wire(model: pb.ModelRef) -> ModelRef:
    return ModelRef(codec.model_id(model.model_id), model.manifest_digest)
