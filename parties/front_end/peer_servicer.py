"""What party 1 does on party 0's word (peer.proto): decode, call, encode. Ids and digests only."""

import grpc

from parties.front_end.desk import QueryDesk
from parties.front_end.models import Models
from parties.front_end.peer_client import ModelRef
from privedge.rpc import codec
from privedge.wire import peer_pb2 as pb
from privedge.wire import peer_pb2_grpc


class PeerServicer(peer_pb2_grpc.PeerServicer):
    """Serves party 0. Holds no state of its own."""

    def __init__(self, models: Models, queries: QueryDesk) -> None:
        self._models = models
        self._queries = queries

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

    def StartQuery(
        self, request: pb.StartQueryRequest, context: grpc.ServicerContext
    ) -> pb.StartQueryResponse:
        """Begin one query."""
        self._queries.start(request)
        return pb.StartQueryResponse()


def _from_wire(model: pb.ModelRef) -> ModelRef:
    return ModelRef(codec.model_id(model.model_id), model.manifest_digest)
