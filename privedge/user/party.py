"""The calls of an owner or admin to one party. Sees that party's share and salt during an upload.

Every call has the configured deadline, and all but an upload are repeated if the party is busy or
away for a moment. A failure becomes one of our errors, which names the party.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from privedge.config import ClientConfig
from privedge.errors import PrivEdgeError
from privedge.identity.receipts import Statement
from privedge.identity.roles import Role
from privedge.ran.any_spec import Spec, of_rans, spec_from_json
from privedge.ran.spec import RanSpec
from privedge.rpc import codec
from privedge.rpc.about import About, ask
from privedge.rpc.channel import open_party, peer_name
from privedge.rpc.retry import Patience, told
from privedge.rpc.status import calls_to, refusal_of
from privedge.sharing.manifest import UploadHeader
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub

# 1970-01-01, and how many days are taken from the wire.
_EPOCH, _DAYS = date(1970, 1, 1).toordinal(), 1 << 20
# So that no party can list models for ever.
_MOST_MODELS = 1 << 24


@dataclass(frozen=True)
class ModelFacts:
    """What a party reports about one model.

    Attributes:
        model_id: 32 hexadecimal digits.
        cohort, owner: their names.
        state: "uploaded", "prepared", "active", "quarantined" (no query asks it: a party's share of
            it is damaged, or an admin has suspended it) or "retired".
        share_bytes: the size of this party's share, in bytes.
        created_at: the time of the upload, in seconds since 1970, UTC.
        images_asked: how many images this party answered while the model was active. Every query
            asks every model of its cohort. 0 from a party of an older release.
        enrolment: for admins, if the operators are told of the check at enrolment: "new", "known"
            (another owner's model fits the same person) or "unchecked"; else empty.
    """

    model_id: str
    cohort: str
    owner: str
    state: str
    share_bytes: int
    created_at: int
    images_asked: int = 0
    enrolment: str = ""


@dataclass(frozen=True)
class CohortFacts:
    """What a party says of a cohort; both parties must say the same.

    architecture: of every model. owners: how many have an active model. snapshot: id of the set of
    active models. rivals: how many, and their digest. The rest as in the operator's file.
    """

    architecture: Spec
    margin: float
    mean_share: float
    max_batch: int
    owners: int
    snapshot: str
    rivals: tuple[int, str] = (0, "")
    enrolment_check: str = "off"
    enrolment_on_match: str = "report"


@dataclass(frozen=True)
class Exposure:
    """How much a cohort was asked in the running day and the 30 before it, as one party counts it.

    Attributes:
        days: the rows that clients had answered, by the day (UTC, as in "2026-01-31").
        identities: how many clients asked.
        largest_share: the part of these rows that one client asked, at most.
        named: the rows of `verify` that asked about the caller.
        activated, refused: models of all owners that became active, or that both parties refused.
    """

    days: dict[str, int]
    identities: int
    largest_share: float
    named: int
    activated: int
    refused: int


@dataclass(frozen=True)
class Activated:
    """What a party answers to an activation.

    snapshot: id of the cohort's models now. replaced: id of the owner's model of before; empty if
    there was none. checked: whether the model was checked at enrolment; None if the owner is not
    told. share: the party's share of what came of it, one word, or empty. statement: signed, and
    not verified yet; None from a party that signs nothing.
    """

    snapshot: str
    replaced: str
    checked: bool | None
    share: bytes = field(repr=False)
    statement: Statement | None


@dataclass(frozen=True)
class Concluded:
    """What became of one of many models. replaced: the id of the owner's model of before; empty if
    there was none. refusal: why it is not active; None if it is.
    """

    model_id: str
    replaced: str
    refusal: PrivEdgeError | None


@dataclass(frozen=True)
class Deleted:
    """What a party answers to a deletion. suspended: it waits for an admin of the other operator.

    statement: signed, and not verified yet; None from a party that signs nothing.
    """

    suspended: bool
    statement: Statement | None


@dataclass(frozen=True)
class Party:
    """A connection to one party; `name` is for messages: "party 0 (host:port)"."""

    channel: Any
    stub: PartyStub
    name: str
    patience: Patience

    def architecture(self, cohort: str) -> RanSpec:
        """Ask for the spec that every RAN of the cohort must have. Raises CheckpointError for a
        cohort of another model.
        """
        return of_rans(self.wanted(cohort)[0], cohort)

    def wanted(self, cohort: str) -> tuple[Spec, int]:
        """Ask for that spec, and how many bits a word of its tensors has here."""
        answer = self._described(cohort)
        bits = codec.bits_from_wire(answer.word_bits, f"cohort {cohort}")
        return spec_from_json(answer.spec_json), bits

    def cohorts(self) -> tuple[str, ...]:
        """List the cohorts that this party has."""
        answer = self._told(self.stub.ListCohorts, pb.ListCohortsRequest())
        return tuple(codec.cohort_name(row.name) for row in answer.cohorts)

    def facts_of(self, cohort: str) -> CohortFacts:
        """Ask for everything that a client is told of a cohort. Raises Refused, CheckpointError."""
        said = self._described(cohort)
        return CohortFacts(
            spec_from_json(said.spec_json),
            said.margin,
            said.mean_share,
            said.max_batch,
            said.owner_count or len(said.owners),
            said.snapshot_id,
            (said.rivals, said.rivals_sha256),
            said.enrolment_check or "off",
            said.enrolment_on_match or "report",
        )

    def _described(self, cohort: str) -> Any:
        """What the party says of a cohort, without the names."""
        name = codec.cohort_asked(cohort)
        request = pb.DescribeCohortRequest(cohort=name, names_apart=True)
        return self._told(self.stub.DescribeCohort, request)

    def about(self) -> About:
        """Ask for this party's versions and clock. Raises Refused."""
        return ask(self.channel, self.name)

    def upload(self, header: UploadHeader, chunks: Iterable[bytes]) -> None:
        """Stream one share; returns once the party has it on disk."""
        with calls_to(self.name):
            self.stub.UploadModel(_requests(header, chunks), timeout=self.patience.within_s)

    def upload_all(self, models: Iterable[tuple[UploadHeader, bytes]]) -> None:
        """Send the whole shares of many models; returns once the party has all on disk."""
        request = pb.UploadModelsRequest(
            models=[
                pb.WholeModel(header=codec.upload_header_to_wire(header), words=words)
                for header, words in models
            ]
        )
        self._told(self.stub.UploadModels, request)

    def activate_all(self, model_ids: Sequence[str]) -> tuple[str, Sequence["Concluded"]]:
        """Make these models active, at party 0: the cohort's snapshot id, and what became of the
        models, or of the first of them.
        """
        answer = self._told(self.stub.ActivateModels, pb.ActivateModelsRequest(model_ids=model_ids))
        return answer.snapshot_id, [
            Concluded(
                each.model_id,
                each.replaced,
                refusal_of(each.refusal, self.name) if each.refusal else None,
            )
            for each in answer.models
        ]

    def activate(self, model_id: str) -> "Activated":
        """Make the model active, at party 0. At party 1, ask for its share of the check, and for
        what it states.
        """
        answer = self._told(self.stub.ActivateModel, pb.ActivateModelRequest(model_id=model_id))
        told = answer.HasField("enrolment")
        return Activated(
            answer.snapshot_id,
            answer.replaced,
            answer.enrolment.checked if told else None,
            answer.enrolment.share,
            codec.statement_from_wire(answer),
        )

    def delete(self, model_id: str) -> "Deleted":
        """Remove the model from this party. An admin may only suspend it."""
        answer = self._told(self.stub.DeleteModel, pb.DeleteModelRequest(model_id=model_id))
        return Deleted(answer.suspended, codec.statement_from_wire(answer))

    def release(self, model_id: str) -> bool:
        """Let a refused model become active, for an admin. Returns whether it is."""
        request = pb.ReleaseModelRequest(model_id=model_id)
        return bool(self._told(self.stub.ReleaseModel, request).active)

    def models(self, cohort: str | None) -> Sequence[ModelFacts]:
        """List the caller's models, or for an admin every owner's, newest first."""
        request = pb.ListModelsRequest(cohort=codec.cohort_asked(cohort) if cohort else "")
        found = list[ModelFacts]()
        while len(found) < _MOST_MODELS:
            answer = self._told(self.stub.ListModels, request)
            found += map(_facts_of, answer.models)
            if not answer.models or not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        return found

    def exposure(self, cohort: str) -> Exposure:
        """Ask how much a cohort was asked, of which the caller is an active owner."""
        said = self._told(
            self.stub.ReadExposure, pb.ReadExposureRequest(cohort=codec.cohort_asked(cohort))
        )
        days = {str(date.fromordinal(_EPOCH + each.day % _DAYS)): each.rows for each in said.days}
        share = said.largest / max(1, sum(days.values()))
        return Exposure(days, said.identities, share, said.named, said.activated, said.refused)

    def _told(self, method: Callable[..., Any], request: Any) -> Any:
        return told(method, request, peer=self.name, patience=self.patience)


@contextmanager
def connect(config: ClientConfig, role: Role) -> Iterator[Party]:
    """Connect to party 0 or party 1 (`role`). Raises ConfigError or CertificateError."""
    address = config.party0 if role is Role.PARTY0 else config.party1
    with open_party(config, role) as channel:
        patience = Patience(config.rpc_timeout_s, config.retries)
        yield Party(channel, PartyStub(channel), peer_name(role, address), patience)


def _facts_of(row: pb.ModelRow) -> ModelFacts:
    return ModelFacts(
        row.model_id,
        row.cohort,
        row.owner,
        row.state,
        row.share_bytes,
        row.created_at,
        row.images_asked,
        row.enrolment,
    )


def _requests(header: UploadHeader, chunks: Iterable[bytes]) -> Iterator[pb.UploadModelRequest]:
    yield pb.UploadModelRequest(header=codec.upload_header_to_wire(header))
    for chunk in chunks:
        yield pb.UploadModelRequest(words=chunk)
