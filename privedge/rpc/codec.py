"""Convert between protobuf and domain types, without I/O.

Sees public descriptions and one party's salts, no shares.

Every `*_from_wire` treats its message as hostile: ids, names, lengths and sizes are checked before
anything is built from them. It raises ShareError, which names the field and never quotes it.
"""

import math
import re
from collections.abc import Iterable, Sequence

from privedge.errors import ReceiptError, ShareError, UnknownCohort
from privedge.identity.receipts import Facts, Statement
from privedge.identity.roles import NAME
from privedge.sharing.cost import Cost, Phase
from privedge.sharing.manifest import SALT_BYTES, ModelManifest, TensorEntry, UploadHeader
from privedge.sharing.question import Question
from privedge.sharing.ring import RING_BITS
from privedge.wire import party_pb2 as pb

# Twice the need of the longest RanSpec: 64 layers of two tensors each, and the threshold.
MAX_TENSORS = 256
MAX_RANK = 6
MAX_PHASES = 16
# 8 GiB for a tensor; a party's own limits are far lower.
MAX_WORDS = 1 << 30

_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PAGE = re.compile(r"[0-9]{1,12}\.[0-9a-f]{32}")
_SNAPSHOT = re.compile(r"[0-9a-z-]{1,64}")
_TENSOR = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PHASE = re.compile(r"[a-z]{1,32}")
_SHA256_BYTES = 32
_MAX_COUNT = 1 << 53


def upload_header_to_wire(header: UploadHeader) -> pb.UploadHeader:
    """Convert the header of an upload to its message."""
    return pb.UploadHeader(manifest=manifest_to_wire(header.manifest), salt=header.salt)


def upload_header_from_wire(message: pb.UploadHeader) -> UploadHeader:
    """Check and convert the header of an upload. Raises ShareError."""
    if len(message.salt) != SALT_BYTES:
        raise ShareError(f"upload: salt: needs {SALT_BYTES} bytes")
    return UploadHeader(manifest_from_wire(message.manifest), message.salt)


def manifest_to_wire(manifest: ModelManifest) -> pb.ModelManifest:
    """Convert an upload's manifest to its message."""
    return pb.ModelManifest(
        model_id=manifest.model_id,
        cohort=manifest.cohort,
        owner=manifest.owner,
        spec_digest=manifest.spec_digest,
        tensors=[
            pb.TensorEntry(
                name=entry.name,
                shape=entry.shape,
                commitments=[bytes.fromhex(digest) for digest in entry.commitments],
                word_bits=bits_to_wire(entry.word_bits),
            )
            for entry in manifest.tensors
        ],
    )


def manifest_from_wire(message: pb.ModelManifest) -> ModelManifest:
    """Check and convert an upload's manifest. Raises ShareError."""
    if not 1 <= len(message.tensors) <= MAX_TENSORS:
        raise ShareError(
            f"manifest: between 1 and {MAX_TENSORS} tensors, not {len(message.tensors)}"
        )
    tensors = tuple(
        _tensor_from_wire(entry, f"manifest: tensor {index}")
        for index, entry in enumerate(message.tensors)
    )
    if len({entry.name for entry in tensors}) != len(tensors):
        raise ShareError("manifest: two tensors have the same name")
    return ModelManifest(
        model_id=model_id(message.model_id),
        cohort=cohort_name(message.cohort),
        owner=_matching(NAME, message.owner, "manifest: owner"),
        spec_digest=_matching(_DIGEST, message.spec_digest, "manifest: spec_digest"),
        tensors=tensors,
    )


def statement_to_wire(statement: Statement) -> pb.SignedStatement:
    """Convert a party's statement to its message."""
    return pb.SignedStatement(
        facts=statement.facts.to_json(),
        certificates=statement.certificates,
        signature=statement.signature,
    )


def statement_from_wire(
    answer: pb.ActivateModelResponse | pb.DeleteModelResponse,
) -> Statement | None:
    """Convert the statement of an answer, which is not verified yet.

    None if there is none, and also if it is malformed: what it is about has happened all the same.
    """
    if not answer.HasField("statement"):
        return None
    message = answer.statement
    try:
        facts = Facts.from_json(message.facts)
    except ReceiptError:
        return None
    return Statement(facts, tuple(message.certificates), message.signature)


def model_id(text: str) -> str:
    """Check the id of a model: 32 hexadecimal digits. Raises ShareError."""
    return _matching(_ID, text, "model_id")


def cohort_name(text: str) -> str:
    """Check the name of a cohort. Raises ShareError."""
    return _matching(NAME, text, "cohort")


def cohort_asked(name: object) -> str:
    """Return the name of a cohort that a caller gave. Raises UnknownCohort if no cohort has it."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UnknownCohort(f"cohort {ascii(name)[:80]}: no cohort can have this name")
    return name


def page_to_wire(created_at: int, last: str) -> str:
    """Inverse of `page_from_wire`."""
    return f"{created_at}.{last}"


def page_from_wire(token: str) -> tuple[int, str] | None:
    """The last model of a page: its time and its id. None for the first page. Raises ShareError."""
    if not token:
        return None
    then, _, last = _matching(_PAGE, token, "page_token").partition(".")
    return int(then), last


def question_to_wire(question: Question) -> pb.QueryHeader:
    """Convert a question to the header of a query."""
    header = pb.QueryHeader(
        query_id=bytes.fromhex(question.query_id),
        cohort=question.cohort,
        snapshot_id=question.snapshot_id,
        shape=question.shape,
        one_subject=question.one_subject,
        word_bits=bits_to_wire(question.word_bits),
        again=question.again,
    )
    if question.verify_owner is None:
        header.identify.SetInParent()
    else:
        header.verify.owner = question.verify_owner
    return header


def question_from_wire(header: pb.QueryHeader) -> Question:
    """Check and convert the header of a query. Raises ShareError."""
    kind = header.WhichOneof("question")
    if kind is None:
        raise ShareError("query: neither identify nor verify")
    owner = _matching(NAME, header.verify.owner, "query: owner") if kind == "verify" else None
    return Question(
        query_id=_matching(_ID, header.query_id.hex(), "query: query_id"),
        cohort=cohort_name(header.cohort),
        snapshot_id=_matching(_SNAPSHOT, header.snapshot_id, "query: snapshot_id"),
        shape=shape_from_wire(header.shape, "query"),
        verify_owner=owner,
        one_subject=header.one_subject,
        word_bits=bits_from_wire(header.word_bits, "query"),
        again=header.again,
    )


def bits_to_wire(word_bits: int) -> int:
    """Inverse of `bits_from_wire`."""
    return 0 if word_bits == RING_BITS else word_bits


def bits_from_wire(word_bits: int, what: str) -> int:
    """Check how many bits a word has; 0 means 64. Raises ShareError."""
    if word_bits > RING_BITS:
        raise ShareError(f"{what}: a word has at most {RING_BITS} bits")
    return word_bits or RING_BITS


def shape_from_wire(extents: Iterable[int], what: str) -> tuple[int, ...]:
    """Check a shape: 1 to 6 positive extents, at most 2^30 words. Raises ShareError."""
    shape = tuple(extents)
    if not 1 <= len(shape) <= MAX_RANK:
        raise ShareError(f"{what}: between 1 and {MAX_RANK} dimensions, not {len(shape)}")
    if min(shape) < 1 or math.prod(shape) > MAX_WORDS:
        raise ShareError(f"{what}: extents must be positive, at most {MAX_WORDS} words in all")
    return shape


def cost_to_wire(cost: Cost) -> pb.Cost:
    """Convert a query's cost to its message."""
    return pb.Cost(
        rounds=cost.rounds,
        bytes_to_peer=cost.bytes_to_peer,
        bytes_from_dealer=cost.bytes_from_dealer,
        queue_s=cost.queue_s,
        load_s=cost.load_s,
        online_s=cost.online_s,
        offline_s=cost.offline_s,
        phases=[
            pb.Phase(name=phase.name, rounds=phase.rounds, bytes_to_peer=phase.bytes_to_peer)
            for phase in cost.phases
        ],
    )


def cost_from_wire(message: pb.Cost) -> Cost:
    """Check and convert the cost that a party reports. Raises ShareError."""
    counts = (message.rounds, message.bytes_to_peer, message.bytes_from_dealer)
    seconds = (message.queue_s, message.load_s, message.online_s, message.offline_s)
    if max(counts) > _MAX_COUNT or not all(math.isfinite(s) and s >= 0 for s in seconds):
        raise ShareError("cost: a count or a time is out of range")
    if len(message.phases) > MAX_PHASES:
        raise ShareError(f"cost: at most {MAX_PHASES} phases, not {len(message.phases)}")
    return Cost(*counts, *seconds, phases=tuple(map(_phase_from_wire, message.phases)))


def _phase_from_wire(message: pb.Phase) -> Phase:
    if max(message.rounds, message.bytes_to_peer) > _MAX_COUNT:
        raise ShareError("cost: a count of a phase is out of range")
    name = _matching(_PHASE, message.name, "cost: phase")
    return Phase(name, message.rounds, message.bytes_to_peer)


def _tensor_from_wire(entry: pb.TensorEntry, what: str) -> TensorEntry:
    return TensorEntry(
        name=_matching(_TENSOR, entry.name, f"{what}: name"),
        shape=shape_from_wire(entry.shape, what),
        commitments=_digests(entry.commitments, what),
        word_bits=bits_from_wire(entry.word_bits, what),
    )


def _digests(raw: Sequence[bytes], what: str) -> tuple[str, str]:
    if len(raw) != 2 or any(len(digest) != _SHA256_BYTES for digest in raw):
        raise ShareError(f"{what}: needs two commitments of {_SHA256_BYTES} bytes")
    return raw[0].hex(), raw[1].hex()


def _matching(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise ShareError(f"{what}: not of the form {pattern.pattern}")
    return text
