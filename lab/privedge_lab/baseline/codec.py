"""Protobuf <-> domain for the split server (split.proto), pure. Sees activations in the clear.

As in privedge/rpc/codec.py, every `*_from_wire` treats its message as hostile. It raises
ShareError, which names the field and never quotes it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from privedge.errors import ShareError
from privedge.rpc.codec import shape_from_wire
from privedge_lab.wire import split_pb2 as pb

Answers = Literal["labels", "logits"]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint32]

VALUE_BYTES = 4
MAX_CLASSES = 1 << 16
_MAX_NAME = 64
_DIGEST_BYTES = 32
_KINDS: Mapping[Answers, pb.AnswerKind.ValueType] = {"labels": pb.LABELS, "logits": pb.LOGITS}


@dataclass(frozen=True)
class Served:
    """What a split server says it runs.

    `tail` is the digest of the tail (hex). `sent_shape` is the shape of one image's activations.
    `max_batch` is the most images in a call.
    """

    tail: str
    cut: str
    sent_shape: tuple[int, ...]
    classes: int
    max_batch: int
    answers: Answers


def served_to_wire(served: Served) -> pb.DescribeSplitResponse:
    """Convert what a server runs to its message; the inverse of `served_from_wire`."""
    return pb.DescribeSplitResponse(
        tail_sha256=bytes.fromhex(served.tail),
        cut=served.cut,
        sent_shape=served.sent_shape,
        classes=served.classes,
        max_batch=served.max_batch,
        answers=_KINDS[served.answers],
    )


def served_from_wire(message: pb.DescribeSplitResponse) -> Served:
    """Check what a server says about itself. Raises ShareError."""
    if not (2 <= message.classes <= MAX_CLASSES and message.max_batch >= 1):
        raise ShareError("describe: classes or max_batch is out of range")
    if len(message.cut) > _MAX_NAME or not message.cut.isidentifier():
        raise ShareError("describe: cut: not the name of a layer")
    return Served(
        tail=_digest(message.tail_sha256, "describe"),
        cut=message.cut,
        sent_shape=shape_from_wire(message.sent_shape, "describe"),
        classes=message.classes,
        max_batch=message.max_batch,
        answers=_answers(message.answers, "describe"),
    )


def asked_to_wire(tail: str, shape: tuple[int, ...]) -> pb.PredictHeader:
    """Make the header of a call; `tail` is a digest (hex), `shape` is (batch, *sent_shape)."""
    return pb.PredictHeader(tail_sha256=bytes.fromhex(tail), shape=shape)


def asked_from_wire(message: pb.PredictHeader) -> tuple[str, tuple[int, ...]]:
    """Check the header of a call; the inverse of `asked_to_wire`. Raises ShareError."""
    tail = _digest(message.tail_sha256, "predict")
    return tail, shape_from_wire(message.shape, "predict")


def activations_to_bytes(activations: Floats) -> bytes:
    """Encode float32 activations of any shape: little-endian, row-major."""
    return activations.astype("<f4", copy=False).tobytes()


def activations_from_bytes(raw: bytes | bytearray, shape: tuple[int, ...]) -> Floats:
    """Decode float32 activations of `shape`; the inverse of `activations_to_bytes`.

    Raises ShareError for another length, NaN or infinity.
    """
    return _floats(raw, shape, "predict")


def answers_to_bytes(logits: Floats, answers: Answers) -> tuple[tuple[int, ...], bytes]:
    """Encode logits float32 (batch, classes) as an answer of that kind: its shape and bytes."""
    if answers == "logits":
        return logits.shape, activations_to_bytes(logits)
    labels = logits.argmax(axis=1).astype("<u4")
    return labels.shape, labels.tobytes()


def kind_to_wire(answers: Answers) -> pb.AnswerKind.ValueType:
    """Return the enum's value."""
    return _KINDS[answers]


def labels_from_answer(
    header: pb.PredictedHeader, raw: bytes, served: Served, batch: int
) -> Labels:
    """Read the label of each of `batch` images from an answer: uint32 (batch,).

    Raises ShareError if the answer has another kind or shape than `served` says, or names a class
    that does not exist.
    """
    if _answers(header.kind, "answer") != served.answers:
        raise ShareError("answer: not of the kind that was announced")
    shape = shape_from_wire(header.shape, "answer")
    expected = (batch,) if served.answers == "labels" else (batch, served.classes)
    if shape != expected:
        raise ShareError("answer: its shape does not fit one answer for each image")
    if served.answers == "logits":
        best: Labels = _floats(raw, shape, "answer").argmax(axis=1).astype(np.uint32)
        return best
    _check_length(raw, shape, "answer")
    labels: Labels = np.frombuffer(raw, "<u4").astype(np.uint32)
    if (labels >= served.classes).any():
        raise ShareError("answer: names a class that does not exist")
    return labels


def _floats(raw: bytes | bytearray, shape: tuple[int, ...], what: str) -> Floats:
    _check_length(raw, shape, what)
    # A copy, for torch needs writable memory in the machine's byte order.
    values = np.frombuffer(raw, "<f4").astype(np.float32).reshape(shape)
    if not np.isfinite(values).all():
        raise ShareError(f"{what}: a value is not finite")
    return values


def _check_length(raw: bytes | bytearray, shape: tuple[int, ...], what: str) -> None:
    expected = VALUE_BYTES * math.prod(shape)
    if len(raw) != expected:
        raise ShareError(f"{what}: not the {expected} bytes announced")


def _answers(kind: int, what: str) -> Answers:
    for answers, number in _KINDS.items():
        if kind == number:
            return answers
    raise ShareError(f"{what}: neither labels nor logits")


def _digest(raw: bytes, what: str) -> str:
    if len(raw) != _DIGEST_BYTES:
        raise ShareError(f"{what}: a digest has {_DIGEST_BYTES} bytes")
    return raw.hex()
