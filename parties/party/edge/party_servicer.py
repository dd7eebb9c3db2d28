"""The public contract (party.proto): decode, call, encode.

Sees one share of models and queries, and this party's salts of models.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import grpc

from parties.party.edge import codec as edge_codec
from parties.party.models.cohorts import find_for
from parties.party.models.enrolment import Activated
from parties.party.models.service import ModelService
from parties.party.queries.service import QueryService
from parties.party.workers.snapshot_feed import SnapshotFeed, added_up
from parties.serving.handshake import Handshake
from parties.serving.readiness import Readiness
from privedge import __version__
from privedge.errors import NotAllowed, ShareError
from privedge.identity.receipts import ACTIVATION, Facts, Statement
from privedge.identity.roles import Identity, Role
from privedge.ran.narrow import word_bits
from privedge.rpc import codec
from privedge.rpc.chunks import cut
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import caller
from privedge.rpc.time_limit import given_up_after, timely
from privedge.rpc.versions import MPC, WIRE
from privedge.sharing.question import Question
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc

# Every share is read and written, and prepared bundles are lost. So an admin far away may not ask
# for it again at once; the command on party 0's own host may.
_LEAST_REFRESH_S = 600.0


class PartyServicer(party_pb2_grpc.PartyServicer):
    """Serves owners, clients and admins. Holds no state of its own."""

    def __init__(
        self,
        models: ModelService,
        queries: QueryService,
        handshake: Handshake,
        feeds: Sequence[SnapshotFeed] = (),
        readiness: Readiness | None = None,
        sign: Callable[[Facts], Statement | None] = lambda facts: None,
    ) -> None:
        """`handshake` says what may be activated. There is one feed for each worker. `readiness`
        says what is wrong with this party. `sign` gives a statement this party's signature.
        """
        self._sign = sign
        self._readiness = readiness
        self._models = models
        self._queries = queries
        self._handshake = handshake
        self._feeds = feeds

    def UploadModel(
        self, request_iterator: Iterator[pb.UploadModelRequest], context: grpc.ServicerContext
    ) -> pb.UploadModelResponse:
        """Store one share of a model."""
        first = next(request_iterator, pb.UploadModelRequest())
        if first.WhichOneof("part") != "header":
            raise ShareError("upload: the first message must be the header")
        header = codec.upload_header_from_wire(first.header)
        stored = self._models.upload(header, caller(context), _words("upload", request_iterator))
        return pb.UploadModelResponse(bytes_stored=stored)

    def ActivateModel(
        self, request: pb.ActivateModelRequest, context: grpc.ServicerContext
    ) -> pb.ActivateModelResponse:
        """Make an uploaded model its owner's active one."""
        model_id, who = codec.model_id(request.model_id), caller(context)
        self._handshake.require(cohort := self._models.cohort_of(model_id, who))
        if self._models.party == 1:
            share = self._models.enrolments.share(model_id)
            rule = find_for(self._models.cohorts, cohort, who).enrolment_check
            told = Activated()
            if share is not None and rule == "owner":
                told = Activated(checked=True, share=share)
            snapshot_id = self._models.snapshot(cohort).id
            if (facts := self._models.facts(model_id, who)) is None or facts.event != ACTIVATION:
                raise NotAllowed("only party 0 activates models")
        else:
            snapshot_id = self._models.activate(model_id, who)
            told = self._models.enrolments.told(model_id)
        response = edge_codec.activated_to_wire(snapshot_id, told)
        self._state(response, model_id, who)
        return response

    def DeleteModel(
        self, request: pb.DeleteModelRequest, context: grpc.ServicerContext
    ) -> pb.DeleteModelResponse:
        """Remove a model from this party."""
        model_id, who = codec.model_id(request.model_id), caller(context)
        if self._models.delete(model_id, who):
            return pb.DeleteModelResponse(suspended=True)
        response = pb.DeleteModelResponse()
        self._state(response, model_id, who)
        return response

    def ReleaseModel(
        self, request: pb.ReleaseModelRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseModelResponse:
        """Let a refused model become active, once both operators have."""
        active = self._models.release(codec.model_id(request.model_id), caller(context))
        return pb.ReleaseModelResponse(active=active)

    def _state(
        self,
        response: pb.ActivateModelResponse | pb.DeleteModelResponse,
        model_id: str,
        who: Identity,
    ) -> None:
        """Add what this party states of the model, if it can sign."""
        facts = self._models.facts(model_id, who)
        statement = self._sign(facts) if facts is not None else None
        if statement is not None:
            response.statement.CopyFrom(codec.statement_to_wire(statement))

    def ListModels(
        self, request: pb.ListModelsRequest, context: grpc.ServicerContext
    ) -> pb.ListModelsResponse:
        """The caller's models."""
        listed = self._models.listed(caller(context), request.cohort or None)
        ids = [row.model_id for row in listed]
        asked = self._models.asked.of(ids)
        admin = caller(context).role is Role.ADMIN
        outcomes = self._models.enrolment_outcomes(ids) if admin else {}
        rows = [
            pb.ModelRow(
                model_id=row.model_id,
                cohort=row.cohort,
                owner=row.owner,
                state=row.state,
                share_bytes=row.share_bytes,
                created_at=row.created_at,
                images_asked=asked[row.model_id],
                enrolment=outcomes.get(row.model_id, ""),
            )
            for row in listed
        ]
        return pb.ListModelsResponse(models=rows)

    def ListCohorts(
        self, request: pb.ListCohortsRequest, context: grpc.ServicerContext
    ) -> pb.ListCohortsResponse:
        """The cohorts of this party that the caller may know of."""
        rows = [
            pb.CohortRow(name=cohort.name, spec_digest=cohort.spec_digest)
            for cohort in self._models.cohorts_of(caller(context))
        ]
        return pb.ListCohortsResponse(cohorts=rows)

    def DescribeCohort(
        self, request: pb.DescribeCohortRequest, context: grpc.ServicerContext
    ) -> pb.DescribeCohortResponse:
        """The public facts of a cohort."""
        snapshot = self._models.described(request.cohort, caller(context))
        public = snapshot.cohort.rivals
        return pb.DescribeCohortResponse(
            spec_json=snapshot.cohort.spec.to_json(),
            margin=snapshot.cohort.margin,
            mean_share=snapshot.cohort.mean_share,
            owners=snapshot.owners,
            snapshot_id=snapshot.id,
            max_batch=snapshot.cohort.rows(self._models.limits.max_batch),
            enrolment_check=snapshot.cohort.enrolment_check,
            enrolment_on_match=snapshot.cohort.enrolment_on_match,
            model_check=snapshot.cohort.model_check.word if snapshot.cohort.model_check else "",
            rivals=snapshot.cohort.rivals_count,
            rivals_sha256=snapshot.cohort.rivals_digest,
            public_owners=snapshot.cohort.public_owners,
            rivals_rows=public.to_bytes() if public and request.with_rivals else b"",
            word_bits=codec.bits_to_wire(word_bits(snapshot.cohort.spec)),
        )

    def ReadExposure(
        self, request: pb.ReadExposureRequest, context: grpc.ServicerContext
    ) -> pb.ReadExposureResponse:
        """How much a cohort was asked, for one of its owners."""
        return edge_codec.exposure_to_wire(self._models.exposure(request.cohort, caller(context)))

    def Query(
        self, request_iterator: Iterator[pb.QueryRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.QueryResponse]:
        """Answer a batch of queries, share for share."""
        deadline = Deadline.of(context, at_most_s=self._queries.deadline_s)
        read = partial(_query, request_iterator, deadline, context)
        answer = self._queries.answered(read, caller(context), deadline, context)
        with given_up_after(self._queries.deadline_s, context):
            cost = codec.cost_to_wire(answer.cost)
            yield pb.QueryResponse(header=pb.AnswerHeader(shape=answer.shape, cost=cost))
            for piece in cut(answer.words):
                yield pb.QueryResponse(words=piece)

    def RefreshShares(
        self, request: pb.RefreshSharesRequest, context: grpc.ServicerContext
    ) -> pb.RefreshSharesResponse:
        """Give both parties new shares of the same models."""
        least = _LEAST_REFRESH_S if caller(context).role is Role.ADMIN else 0.0
        used = self._models.refresh(request.cohort or None, least_age_s=least)
        return pb.RefreshSharesResponse(models=used)

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:
        """Counters for operators."""
        queries = self._queries.counters()
        levels = added_up([level for feed in self._feeds for level in feed.levels])
        return pb.StatusResponse(
            party=self._models.party,
            queries_answered=queries.answered,
            queries_failed=queries.failed,
            queries_running=queries.running,
            models_active=self._models.models_active,
            upload_bytes=self._models.upload_bytes,
            query_bytes=queries.bytes_received,
            worker_pids=queries.worker_pids,
            runs=queries.runs,
            pools=edge_codec.pool_levels_to_wire(levels),
            differences=self._handshake.differences,
            faults=self._readiness.faults if self._readiness else (),
            release=__version__,
            wire=WIRE,
            mpc=MPC,
            quarantined=self._models.quarantine.lines,
            refused=self._models.refused_lines,
        )


def _words(
    what: str, requests: Iterator[pb.UploadModelRequest] | Iterator[pb.QueryRequest]
) -> Iterator[bytes]:
    for request in requests:
        if not request.words:
            raise ShareError(f"{what}: only bytes may follow the header")
        yield request.words


def _query(
    requests: Iterator[pb.QueryRequest], deadline: Deadline, context: grpc.ServicerContext
) -> tuple[Question, Iterable[bytes]]:
    """The question, and its words as they arrive; the call is cancelled if they are late."""
    in_time = timely(requests, deadline.remaining(), context)
    first = next(in_time, pb.QueryRequest())
    if first.WhichOneof("part") != "header":
        raise ShareError("query: the first message must be the header")
    return codec.question_from_wire(first.header), _words("query", in_time)
