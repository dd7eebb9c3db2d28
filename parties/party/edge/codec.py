"""Protobuf <-> domain values of a front end, pure: peer.proto and worker.proto.

Sees ids, digests and this party's salts; and one share of queries and answers, as bytes that it
passes on. The messages of clients and owners (party.proto) are privedge.rpc.codec's.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from parties.party.audit.chain import Head
from parties.party.audit.heads import SaidHead
from parties.party.budgets.exposure import Exposure
from parties.party.models.cohorts import ModelRef, Snapshot
from parties.party.models.enrolment import Activated
from parties.party.models.folder_identity import HIGHEST_EPOCH
from parties.party.models.standing import Said
from parties.party.models.uploads import MOST_ACTIVATED
from parties.party.queries.inbox import HeldChange
from parties.party.queries.pending import QueryRef, Run
from parties.party.workers.messages import AnswerBytes, Checked, Job, Kept, PoolLevel
from parties.wire import peer_pb2, worker_pb2
from privedge.errors import ShareError
from privedge.rpc.codec import cost_from_wire, model_id, shape_from_wire
from privedge.rpc.versions import plain
from privedge.wire import party_pb2

# One message carries about so many bytes of manifests; everything else of a model is small.
_PIECE_BYTES = 1 << 20
_ID_OR_NONE = re.compile(r"(?:[0-9a-f]{32})?")
_ID_BYTES = 16
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_LINES = 1 << 62
# Ids in one message, and models in a list.
MOST_IDS, MOST_LISTED = 10_000, 1 << 24


# --- Between the front ends (peer.proto) ----------------------------------------------------------


def model_ref_to_wire(ref: ModelRef) -> peer_pb2.ModelRef:
    """Inverse of `model_ref_from_wire`."""
    return peer_pb2.ModelRef(
        model_id=ref.model_id, manifest_digest=ref.manifest_digest, version=ref.version
    )


def model_ref_from_wire(message: peer_pb2.ModelRef) -> ModelRef:
    """Raises ShareError for anything but a model id, or for what is no version of a share."""
    if not _ID_OR_NONE.fullmatch(message.version):
        raise ShareError("a version of a share is 32 hexadecimal digits")
    return ModelRef(model_id(message.model_id), message.manifest_digest, message.version)


def model_refs_from_wire(messages: Sequence[peer_pb2.ModelRef]) -> list[ModelRef]:
    """The models of one group. Raises ShareError, also for none, or for too many."""
    if not 0 < len(messages) <= MOST_ACTIVATED:
        raise ShareError(f"1 to {MOST_ACTIVATED} models at once")
    return list(map(model_ref_from_wire, messages))


def said_to_wire(said: Said) -> peer_pb2.StateEpoch:
    """Inverse of `said_from_wire`."""
    return peer_pb2.StateEpoch(**vars(said))


def said_from_wire(message: Any) -> Said | None:
    """What the sender of a message with a field `state` says of its state; None if it does not.

    Raises ShareError for what no party says.
    """
    if not message.HasField("state"):
        return None
    state = message.state
    if not _ID_OR_NONE.fullmatch(state.deployment):
        raise ShareError("state: a deployment is 32 hexadecimal digits")
    if max(state.epoch, state.seen) > HIGHEST_EPOCH:
        raise ShareError("state: an epoch is at most 2^62")
    names = (plain(name) if name else "" for name in (state.process, state.leader))
    return Said(state.deployment, state.epoch, state.seen, *names)


def model_ids_from_wire(ids: Iterable[str]) -> frozenset[str]:
    """Raises ShareError for anything but model ids."""
    return frozenset(map(model_id, ids))


def query_ref_to_wire(ref: QueryRef) -> peer_pb2.Half:
    """Inverse of `query_ref_from_wire`."""
    return peer_pb2.Half(query_id=id_to_wire(ref.query_id), header_sha256=ref.question_digest)


def query_ref_from_wire(message: peer_pb2.Half) -> QueryRef:
    """One query, as the other front end names it."""
    return QueryRef(message.query_id.hex(), message.header_sha256)


def id_to_wire(query_id: str) -> bytes:
    """A query id as bytes."""
    return bytes.fromhex(query_id)


def id_from_wire(raw: bytes) -> str:
    """Inverse of `id_to_wire`. Raises ShareError unless it is 16 bytes."""
    if len(raw) != _ID_BYTES:
        raise ShareError(f"a query id is {_ID_BYTES} bytes")
    return raw.hex()


def held_change_to_wire(change: HeldChange) -> Iterator[peer_pb2.HalvesChange]:
    """Inverse of `held_changes_from_wire`: which queries came to party 1 and left it, and what is
    damaged there, in several messages if that is much.
    """
    message = peer_pb2.HalvesChange(
        arrived=map(query_ref_to_wire, change.arrived), left=map(id_to_wire, change.left)
    )
    if change.damaged is None:
        yield message
        return
    ids = sorted(change.damaged)
    for start in range(0, max(1, len(ids)), MOST_IDS):
        some, more = ids[start : start + MOST_IDS], start + MOST_IDS < len(ids)
        message.damaged.CopyFrom(peer_pb2.DamagedModels(model_ids=some, more=more))
        yield message
        message = peer_pb2.HalvesChange()


def held_changes_from_wire(messages: Iterable[peer_pb2.HalvesChange]) -> Iterator[HeldChange]:
    """The changes, as their last messages come. Raises ShareError for anything but model ids, and
    if more are damaged than there can be.
    """
    arrived, left = list[QueryRef](), list[str]()
    damaged = set[str]()
    for message in messages:
        arrived += map(query_ref_from_wire, message.arrived)
        left += (query_id.hex() for query_id in message.left)
        damaged |= model_ids_from_wire(message.damaged.model_ids)
        if len(damaged) > MOST_LISTED:
            raise ShareError(f"at most {MOST_LISTED} models are damaged")
        if message.damaged.more:
            continue
        said = frozenset(damaged) if message.HasField("damaged") else None
        yield HeldChange(tuple(arrived), tuple(left), said)
        arrived, left, damaged = [], [], set()


def run_to_wire(run: Run) -> peer_pb2.StartRunRequest:
    """Inverse of `run_from_wire`."""
    return peer_pb2.StartRunRequest(
        session=run.session, worker=run.worker, queries=map(query_ref_to_wire, run.queries)
    )


def run_from_wire(message: peer_pb2.StartRunRequest) -> Run:
    """The run that party 0 orders."""
    return Run(message.session, message.worker, tuple(map(query_ref_from_wire, message.queries)))


def audit_head_to_wire(said: SaidHead) -> peer_pb2.AuditHead:
    """Inverse of `audit_head_from_wire`."""
    return peer_pb2.AuditHead(
        number=said.head.number, sha256=said.head.sha256, last_event=said.last_event
    )


def audit_head_from_wire(message: peer_pb2.AuditHead) -> SaidHead:
    """Where the sender's audit log is. Raises ShareError for what no party says."""
    if not _SHA256.fullmatch(message.sha256):
        raise ShareError("audit: a head is 64 hexadecimal digits")
    if max(message.number, message.last_event) > _MOST_LINES:
        raise ShareError("audit: a log has at most 2^62 lines")
    return SaidHead(Head(message.number, message.sha256), message.last_event)


# --- Between a front end and its workers (worker.proto) -------------------------------------------


def snapshot_to_wire(snapshot: Snapshot) -> Iterator[worker_pb2.Snapshot]:
    """A snapshot in pieces, because it may have thousands of models."""
    telemetry = snapshot.cohort.telemetry
    piece = worker_pb2.Snapshot(
        cohort=snapshot.cohort.name,
        id=snapshot.id,
        spec_json=snapshot.cohort.spec.to_json(),
        margin=snapshot.cohort.margin,
        mean_share=snapshot.cohort.mean_share,
        rivals=snapshot.cohort.rivals.to_bytes() if snapshot.cohort.rivals else b"",
        public_owners=snapshot.cohort.public_owners,
        telemetry_json=telemetry.model_dump_json() if telemetry else "",
    )
    size = 0
    for model in snapshot.models:
        if size > _PIECE_BYTES:
            yield piece
            piece, size = worker_pb2.Snapshot(), 0
        piece.models.add(
            path=str(model.path),
            manifest_json=model.manifest_json,
            salt=model.salt,
            version=model.version,
            commitments=map(bytes.fromhex, model.commitments),
        )
        size += len(model.manifest_json)
    yield piece


def run_request_to_wire(job: Job, words: bytes) -> worker_pb2.RunRequest:
    """A job, and this party's share of its images."""
    message = worker_pb2.Job(
        session=job.session,
        snapshot_id=job.snapshot_id,
        shape=job.shape,
        one_subject=job.one_subject,
        counted=job.counted.answers,
        counted_period=job.counted.period,
    )
    if job.verify_position is not None:
        message.verify_position = job.verify_position
    if job.anybody is not None:
        message.anybody.CopyFrom(worker_pb2.Anybody(**vars(job.anybody)))
    if job.check is not None:
        message.model_check.CopyFrom(_check_to_wire(job.check))
    return worker_pb2.RunRequest(job=message, words=words)


def _check_to_wire(check: Checked) -> worker_pb2.ModelCheck:
    if (bounds := check.bounds) is None:
        return worker_pb2.ModelCheck()
    return worker_pb2.ModelCheck(
        **vars(bounds.band), limits=bounds.limits, most_won=bounds.most_won
    )


def answer_from_wire(response: worker_pb2.RunResponse) -> AnswerBytes:
    """A worker's answer share. Raises ShareError if it is malformed."""
    shape = shape_from_wire(response.header.shape, "answer")
    cost = cost_from_wire(response.header.cost)
    if not response.words:
        raise ShareError("answer: no words came")
    return AnswerBytes(shape, response.words, cost, response.unaudited)


def kept_from_wire(response: worker_pb2.KeepResponse) -> Kept:
    """What a worker has ready, and what it could not load."""
    levels = tuple(
        PoolLevel(pool.cohort, pool.batch, pool.ready, pool.wanted) for pool in response.pools
    )
    return Kept(levels, tuple(map(model_id, response.damaged)))


def activated_to_wire(snapshot_id: str, told: Activated) -> party_pb2.ActivateModelResponse:
    """What an owner is told of an activation (party.proto)."""
    response = party_pb2.ActivateModelResponse(snapshot_id=snapshot_id, replaced=told.replaced)
    if told.checked is not None:
        check = party_pb2.EnrolmentCheck(checked=told.checked, share=told.share)
        response.enrolment.CopyFrom(check)
    return response


def exposure_to_wire(counts: Exposure) -> party_pb2.ReadExposureResponse:
    """One party's counts."""
    return party_pb2.ReadExposureResponse(
        days=[party_pb2.DayRows(day=day, rows=rows) for day, rows in counts.days],
        identities=counts.identities,
        largest=counts.largest,
        named=counts.named,
        activated=counts.activated,
        refused=counts.refused,
    )


def pool_levels_to_wire(levels: Iterable[PoolLevel]) -> list[party_pb2.Pool]:
    """What operators are told of the pools (party.proto)."""
    return [
        party_pb2.Pool(
            cohort=level.cohort, batch=level.batch, ready=level.ready, wanted=level.wanted
        )
        for level in levels
    ]
