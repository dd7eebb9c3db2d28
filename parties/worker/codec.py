"""Protobuf <-> domain values of a worker, pure. Sees one share of queries and of answers.

A worker decodes what its own front end and the other party's worker send; both have been let in by
role. Shapes and sizes are checked before anything is built from them.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from parties.config.telemetry import TelemetrySection
from parties.mpc.predict import Rule
from parties.wire import mpc_pb2
from parties.wire import worker_pb2 as pb
from parties.worker.computation import AnswerShare
from parties.worker.preprocessing.orders import Order, Progress, State
from parties.worker.snapshot_cache import ModelFile, Snapshot
from parties.worker.task import Kind, Method, ModelCheck, Task
from privedge.errors import ShareError
from privedge.ran.any_spec import spec_from_json
from privedge.ran.model_bounds import Band, ProbeBounds
from privedge.ran.rivals import Rivals
from privedge.rpc.codec import cost_to_wire
from privedge.sharing.ring import RING_BITS, from_bytes
from privedge.wire import party_pb2

_STATES: dict[State, mpc_pb2.Prepared.State.ValueType] = {
    State.STARTED: mpc_pb2.Prepared.STARTED,
    State.READY: mpc_pb2.Prepared.READY,
    State.BUSY: mpc_pb2.Prepared.BUSY,
    State.UNKNOWN: mpc_pb2.Prepared.UNKNOWN,
    State.FAILED: mpc_pb2.Prepared.FAILED,
}
_STATE_OF: dict[int, State] = {number: state for state, number in _STATES.items()}


# --- The front end's messages (worker.proto) ------------------------------------------------------


def snapshot_from_wire(pieces: Iterable[pb.Snapshot]) -> Snapshot:
    """Join the pieces of one snapshot. Raises CheckpointError for a spec that is none, and
    ConfigError for rivals that do not fit it.
    """
    whole = pb.Snapshot()
    for piece in pieces:
        whole.MergeFrom(piece)
    spec = spec_from_json(whole.spec_json)
    return Snapshot(
        id=whole.id,
        cohort=whole.cohort,
        spec=spec,
        rivals=Rivals.from_bytes(whole.rivals, spec.input_shape),
        public_owners=whole.public_owners,
        margin=whole.margin,
        mean_share=whole.mean_share,
        telemetry=(
            TelemetrySection.model_validate_json(whole.telemetry_json)
            if whole.telemetry_json
            else None
        ),
        models=tuple(
            ModelFile(
                Path(model.path),
                model.manifest_json,
                model.salt,
                model.version,
                tuple(each.hex() for each in model.commitments),
            )
            for model in whole.models
        ),
    )


def task_from_wire(job: pb.Job, snapshot: Snapshot, method: Method) -> Task:
    """The task of a front end's job on the snapshot that the job names."""
    position = job.verify_position if job.HasField("verify_position") else None
    margin, but = snapshot.margin, None
    if job.HasField("anybody"):
        margin, but = job.anybody.margin, tuple(job.anybody.but)
    rule = Rule(
        margin,
        job.one_subject,
        position,
        snapshot.mean_share,
        snapshot.rivals,
        anybody_but=but,
        public_owners=snapshot.public_owners,
    )
    return Task(
        snapshot,
        tuple(job.shape),
        rule,
        method,
        tuple(job.counted),
        job.counted_period,
        _check_from_wire(job),
    )


def _check_from_wire(job: pb.Job) -> ModelCheck | None:
    if not job.HasField("model_check"):
        return None
    said = job.model_check
    if not said.HasField("least"):
        return ModelCheck(None)
    band = Band(said.least, said.most)
    return ModelCheck(ProbeBounds(band, tuple(said.limits), said.most_won))


def share_from_wire(words: bytes, shape: tuple[int, ...], bits: int = RING_BITS) -> torch.Tensor:
    """This party's share of the images, int64 of `shape`, from words of `bits` bits.

    Raises ShareError for another size.
    """
    try:
        found = from_bytes(words, shape, bits)
    except ShareError:
        raise ShareError(f"query share: {len(words)} bytes for shape {shape}") from None
    # A copy, because tensors are written to and bytes must not be.
    return torch.from_numpy(found.view(np.int64).copy())


def answer_to_wire(answer: AnswerShare) -> pb.RunResponse:
    """This party's share of the answer, and what it cost."""
    header = party_pb2.AnswerHeader(shape=answer.words.shape, cost=cost_to_wire(answer.cost))
    return pb.RunResponse(
        header=header,
        words=answer.words.contiguous().numpy().tobytes(),
        unaudited=answer.unaudited,
    )


# --- The other worker's messages about preprocessing (mpc.proto) ----------------------------------


def order_to_wire(order: Order) -> mpc_pb2.Preparation:
    """Inverse of `order_from_wire`."""
    preparation = mpc_pb2.Preparation
    what = preparation.REHEARSAL if order.rehearsal else preparation.BUNDLE
    return preparation(
        kind=what if order.audit is None else preparation.AUDIT,
        session=order.session,
        snapshot_id=order.kind.snapshot_id,
        shape=order.kind.shape,
        one_subject=order.kind.one_subject,
        masked_weights=order.pairing,
        alive=order.alive,
        bundles=order.bundles,
        opened=order.opened,
        audit=order.audit or b"",
    )


def order_from_wire(message: mpc_pb2.Preparation) -> Order:
    """What party 0's worker orders."""
    return Order(
        rehearsal=message.kind == mpc_pb2.Preparation.REHEARSAL,
        session=message.session,
        kind=Kind(message.snapshot_id, tuple(message.shape), message.one_subject),
        pairing=message.masked_weights,
        alive=tuple(message.alive),
        bundles=message.bundles or 1,
        opened=message.opened,
        audit=message.audit if message.kind == mpc_pb2.Preparation.AUDIT else None,
    )


def progress_to_wire(progress: Progress) -> mpc_pb2.Prepared:
    """Inverse of `progress_from_wire`."""
    return mpc_pb2.Prepared(
        state=_STATES[progress.state], bundles=progress.bundles, audit=progress.audit
    )


def progress_from_wire(message: mpc_pb2.Prepared) -> Progress:
    """How far party 1's worker is. A state that this release does not know counts as a failure."""
    state = _STATE_OF.get(message.state, State.FAILED)
    return Progress(state, message.bundles or 1, message.audit)
