"""What party 1 serves to party 0 (peer.proto): decode, call, encode. Ids and digests only."""

from collections.abc import Iterator, Sequence

import grpc

from parties.party.audit.heads import PeerHeads
from parties.party.edge import codec, parts_codec
from parties.party.edge.hello import Hello
from parties.party.models.model_checks import Shown
from parties.party.models.service import ModelService
from parties.party.queries.follower import Follower
from parties.wire import peer_pb2 as pb
from parties.wire import peer_pb2_grpc
from privedge.rpc.status import status_of
from privedge.rpc.versions import plain


class PeerServicer(peer_pb2_grpc.PeerServicer):
    """Serves party 0. Holds no state of its own."""

    def __init__(
        self, models: ModelService, follower: Follower, hello: Hello, heads: PeerHeads
    ) -> None:
        self._heads = heads
        self._models = models
        self._follower = follower
        self._hello = hello

    def Hello(self, request: pb.Terms, context: grpc.ServicerContext) -> pb.Terms:
        """Exchange terms."""
        return self._hello.from_party(request)

    def ReadTerms(self, request: pb.ReadTermsRequest, context: grpc.ServicerContext) -> pb.Terms:
        """Say this party's terms."""
        return self._hello.read()

    def CheckEnrolment(
        self, request: pb.CheckEnrolmentRequest, context: grpc.ServicerContext
    ) -> pb.CheckEnrolmentResponse:
        """Ask the active models about a new one, together with party 0."""
        self._models.standing.require(codec.said_from_wire(request))
        ref = codec.model_ref_from_wire(request.model)
        query_id = codec.id_from_wire(request.query_id)
        share = self._models.check(ref, request.snapshot_id, query_id, context)
        return pb.CheckEnrolmentResponse(share=share)

    def DrawProbes(
        self, request: pb.DrawProbesRequest, context: grpc.ServicerContext
    ) -> pb.DrawProbesResponse:
        """Add this party's part to the coin that draws probes."""
        self._models.standing.require(codec.said_from_wire(request))
        ref = codec.model_ref_from_wire(request.model)
        return pb.DrawProbesResponse(part=self._models.draw_probes(ref, request.commitment))

    def CheckModel(
        self, request: pb.CheckModelRequest, context: grpc.ServicerContext
    ) -> pb.CheckModelResponse:
        """Check a new model on shares, together with party 0."""
        self._models.standing.require(codec.said_from_wire(request))
        ref = codec.model_ref_from_wire(request.model)
        query_id = codec.id_from_wire(request.query_id)
        share = self._models.check_model(ref, query_id, request.part, context)
        return pb.CheckModelResponse(share=share)

    def PrepareModel(
        self, request: pb.PrepareModelRequest, context: grpc.ServicerContext
    ) -> pb.PrepareModelResponse:
        """Agree to a model, or drop it."""
        self._models.standing.require(codec.said_from_wire(request))
        shown = Shown(request.enrolment_share, request.check_share, request.released)
        self._models.prepare(codec.model_ref_from_wire(request.model), shown)
        return pb.PrepareModelResponse(state=self._said())

    def PrepareModels(
        self, request: pb.PrepareModelsRequest, context: grpc.ServicerContext
    ) -> pb.PrepareModelsResponse:
        """Agree to each of many models, or not."""
        self._models.standing.require(codec.said_from_wire(request))
        answers = self._models.prepare_all(codec.model_refs_from_wire(request.models))
        refusals = ["" if why is None else status_of(why)[1] for why in answers]
        return pb.PrepareModelsResponse(state=self._said(), refusals=refusals)

    def SetActiveModels(
        self, request: pb.SetActiveModelsRequest, context: grpc.ServicerContext
    ) -> pb.SetActiveModelsResponse:
        """Take over party 0's list of a cohort."""
        self._models.standing.require(codec.said_from_wire(request))
        refs, left_out = (
            [codec.model_ref_from_wire(model) for model in models]
            for models in (request.models, request.quarantined)
        )
        deleted = codec.model_ids_from_wire(request.deleted)
        self._models.follow(request.cohort, refs, left_out, deleted)
        return pb.SetActiveModelsResponse(state=self._said(), unwanted=self._unwanted())

    def CompareActiveModels(
        self, request: pb.CompareActiveModelsRequest, context: grpc.ServicerContext
    ) -> pb.CompareActiveModelsResponse:
        """Say which parts of party 0's list are others here."""
        self._models.standing.require(codec.said_from_wire(request))
        digests = parts_codec.digests_from_wire(request.digests)
        differing = self._models.differing(request.cohort, digests)
        return pb.CompareActiveModelsResponse(differing=differing)

    def FollowActiveModels(
        self,
        request_iterator: Iterator[pb.FollowActiveModelsRequest],
        context: grpc.ServicerContext,
    ) -> pb.FollowActiveModelsResponse:
        """Take over party 0's list of a cohort, of which it sends some parts."""
        first = next(request_iterator, pb.FollowActiveModelsRequest())
        self._models.standing.require(codec.said_from_wire(first))
        said = parts_codec.parts_from_wire(first, request_iterator)
        deleted = codec.model_ids_from_wire(first.deleted)
        self._models.follow_parts(first.cohort, said, deleted)
        return pb.FollowActiveModelsResponse(state=self._said(), unwanted=self._unwanted())

    def AddActiveModel(
        self, request: pb.AddActiveModelRequest, context: grpc.ServicerContext
    ) -> pb.AddActiveModelResponse:
        """Add one model to the snapshot that party 0 had before."""
        self._models.standing.require(codec.said_from_wire(request))
        ref = codec.model_ref_from_wire(request.model)
        self._models.add(request.cohort, request.since, ref)
        return pb.AddActiveModelResponse(state=self._said())

    def AddActiveModels(
        self, request: pb.AddActiveModelsRequest, context: grpc.ServicerContext
    ) -> pb.AddActiveModelsResponse:
        """Add many models to the snapshot that party 0 had before."""
        self._models.standing.require(codec.said_from_wire(request))
        refs = codec.model_refs_from_wire(request.models)
        self._models.add_all(request.cohort, request.since, refs)
        return pb.AddActiveModelsResponse(state=self._said())

    def PrepareRefresh(
        self, request: pb.PrepareRefreshRequest, context: grpc.ServicerContext
    ) -> pb.PrepareRefreshResponse:
        """Write the refreshed share of one model, without using it."""
        self._models.standing.require(codec.said_from_wire(request))
        self._models.prepare_refresh(codec.model_ref_from_wire(request.model), request.seed)
        return pb.PrepareRefreshResponse(state=self._said())

    def WatchHalves(
        self, request: pb.WatchHalvesRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.HalvesChange]:
        """Say which queries are here, as long as party 0 listens."""
        with self._models.standing.watched(plain(request.process) if request.process else ""):
            for change in self._follower.changes(context):
                yield from codec.held_change_to_wire(change)

    def RefuseHalf(
        self, request: pb.RefuseHalfRequest, context: grpc.ServicerContext
    ) -> pb.RefuseHalfResponse:
        """End one query."""
        self._follower.refuse(request.query_id.hex())
        return pb.RefuseHalfResponse()

    def StartRun(
        self, request: pb.StartRunRequest, context: grpc.ServicerContext
    ) -> pb.StartRunResponse:
        """Begin one run."""
        missing = self._follower.order(codec.run_from_wire(request))
        return pb.StartRunResponse(missing=map(codec.id_to_wire, missing))

    def ExchangeAuditHeads(
        self, request: pb.AuditHead, context: grpc.ServicerContext
    ) -> pb.AuditHead:
        """Record where party 0's audit log is, and say where this one is."""
        self._heads.hear(codec.audit_head_from_wire(request))
        return codec.audit_head_to_wire(self._heads.mine)

    def _unwanted(self) -> Sequence[str]:
        return sorted(self._models.quarantine.unwanted)[: codec.MOST_IDS]

    def _said(self) -> pb.StateEpoch:
        return codec.said_to_wire(self._models.standing.mine)
