"""C-49: bytes from outside, to every parser: what is declared is raised, or something is returned.

Half of the cases are any bytes, half are a good text with a few places changed. `make fuzz` gives
100,000 cases to all parsers together; here each gets a few. A case that hangs ends with an alarm,
and the memory of all cases of a parser is bounded.
"""

import io
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save as to_safetensors

from parties import tuple_codec
from parties.at_rest.vault import Vault
from parties.config.party import PartyConfig
from parties.mpc.fused.tuples import FusedRelu
from parties.party.edge import codec as edge
from parties.party.edge import hello, parts_codec
from parties.party.models.checked_shares import fault
from parties.party.models.folder_identity import BLOCK, IdentityFile
from parties.wire import dealer_pb2, mpc_pb2, peer_pb2, worker_pb2
from parties.worker import agreement
from parties.worker import codec as worker
from privedge.config import ClientConfig, load
from privedge.errors import (
    CertificateError,
    CheckpointError,
    ConfigError,
    ImageError,
    PrivEdgeError,
    RangeError,
    ShareError,
)
from privedge.identity.certificates import create_authority, issue
from privedge.identity.pem_files import read_chain, read_key
from privedge.identity.roles import Identity, Role
from privedge.ran import images, npz
from privedge.ran.any_spec import spec_from_json
from privedge.ran.presets import preset
from privedge.ran.spec import RanSpec
from privedge.rpc import callers, codec, status
from privedge.sharing.cost import Cost, Phase
from privedge.sharing.manifest import (
    ModelManifest,
    TensorEntry,
    UploadHeader,
    commitment,
    new_model_id,
    new_salt,
)
from privedge.sharing.question import Question, new_query_id
from privedge.user import checkpoint, served_model
from privedge.user.checkpoint import Ran
from privedge.user.served_model import Model
from privedge.wire import party_pb2
from tests import onnx_files

ROOT = Path(__file__).resolve().parents[2]
CASES = int(os.environ.get("PRIVEDGE_FUZZ_CASES", "2000"))
LONGEST = 4096
HANGS_AFTER_S = 60
MOST_MEMORY_KIB = 1 << 20

SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
SALT = new_salt()
WORDS = bytes(range(64))


def manifest() -> ModelManifest:
    committed = commitment(SALT, "mean")
    committed.update(WORDS)
    digests = (committed.hexdigest(), "0" * 64)
    tensors = (TensorEntry("mean", (8,), digests),)
    return ModelManifest(new_model_id(), "faces", "ana", "0" * 64, tensors)


MANIFEST = manifest()


@dataclass(frozen=True)
class Parser:
    """`read` takes bytes; `good` are bytes that it takes; `declared` may be raised."""

    good: bytes
    read: Callable[[bytes], object]
    declared: tuple[type[Exception], ...]


# --- Messages -------------------------------------------------------------------------------------


def message(good: Message, read: Callable[[Any], object], *declared: type[Exception]) -> Parser:
    """What a servicer does: protobuf first, then our own codec."""
    kind = type(good)
    return Parser(
        good.SerializeToString(),
        lambda raw: read(kind.FromString(raw)),
        (DecodeError, *(declared or (ShareError,))),
    )


QUESTION = Question(new_query_id(), "faces", "0" * 64, (2, 512), "ana", one_subject=True)
COST = Cost(1, 2, 3, 0.1, 0.2, 0.3, 0.4, (Phase("network", 1, 2),))
HALF = peer_pb2.Half(query_id=bytes(16), header_sha256=bytes(32))
STATE = peer_pb2.StateEpoch(deployment="0" * 32, epoch=3, seen=2, process="a.1.b")
CHANGE = peer_pb2.HalvesChange(
    arrived=[HALF], left=[bytes(16)], damaged=peer_pb2.DamagedModels(model_ids=["0" * 32])
)
TERMS = peer_pb2.Terms(
    release="1", engine="fused", cohorts=[peer_pb2.CohortTerms(name="a", margin=0.8)], state=STATE
)
ORDER = mpc_pb2.Preparation(
    kind=mpc_pb2.Preparation.BUNDLE, session=bytes(16), snapshot_id="a", shape=[1, 512]
)
SNAPSHOT = worker_pb2.Snapshot(id="a", cohort="faces", spec_json=SPEC.to_json(), margin=0.8)
ANSWER = worker_pb2.RunResponse(
    header=party_pb2.AnswerHeader(shape=[1, 2], cost=codec.cost_to_wire(COST)), words=bytes(16)
)
POOL = party_pb2.Pool(cohort="faces", batch=1, ready=2, wanted=4)
KEPT = worker_pb2.KeepResponse(pools=[POOL], damaged=["0" * 32])
RUN = peer_pb2.StartRunRequest(session=bytes(16), worker=0, queries=[HALF])
REF = peer_pb2.ModelRef(model_id="0" * 32, manifest_digest="0" * 64)
LIST = peer_pb2.FollowActiveModelsRequest(
    cohort="faces", parts=2, sent=[1], root=bytes(32), models=[peer_pb2.ListedModel(model=REF)]
)

MESSAGES = {
    "manifest": message(codec.manifest_to_wire(MANIFEST), codec.manifest_from_wire),
    "upload header": message(
        codec.upload_header_to_wire(UploadHeader(MANIFEST, SALT)), codec.upload_header_from_wire
    ),
    "query header": message(codec.question_to_wire(QUESTION), codec.question_from_wire),
    "cost": message(codec.cost_to_wire(COST), codec.cost_from_wire),
    "tuple request": message(tuple_codec.to_wire(3, FusedRelu((2, 3), 16)), tuple_codec.from_wire),
    "tuple requests": message(
        dealer_pb2.TupleRequests(tuples=[tuple_codec.to_wire(3, FusedRelu((2, 3), 16))]),
        lambda many: [*map(tuple_codec.from_wire, many.tuples)],
    ),
    "halves": message(CHANGE, lambda change: list(edge.held_changes_from_wire([change]))),
    "run order": message(RUN, edge.run_from_wire),
    "model reference": message(REF, edge.model_ref_from_wire),
    "list of models": message(LIST, lambda said: parts_codec.parts_from_wire(said, [said])),
    "digests of a list": message(
        peer_pb2.CompareActiveModelsRequest(cohort="faces", digests=[bytes(32)]),
        lambda said: parts_codec.digests_from_wire(said.digests),
    ),
    "many models": message(
        party_pb2.UploadModelsRequest(
            models=[
                party_pb2.WholeModel(
                    header=codec.upload_header_to_wire(UploadHeader(MANIFEST, SALT)),
                    words=b"12345678",
                )
            ]
        ),
        lambda many: [codec.upload_header_from_wire(each.header) for each in many.models],
    ),
    "state of a party": message(
        peer_pb2.PrepareModelRequest(model=REF, state=STATE), edge.said_from_wire
    ),
    "terms": message(TERMS, hello.from_wire),
    "worker's answer": message(ANSWER, edge.answer_from_wire),
    "worker's pools": message(KEPT, edge.kept_from_wire),
    "order to prepare": message(ORDER, worker.order_from_wire),
    "snapshot": message(SNAPSHOT, lambda one: worker.snapshot_from_wire([one]), CheckpointError),
    "frame between workers": message(
        mpc_pb2.Frame(words=mpc_pb2.Words(counter=1, payload=bytes(64), last=True)),
        lambda frame: (frame.words.counter, frame.words.payload, frame.hello.agreement),
    ),
}


# --- Texts ----------------------------------------------------------------------------------------


def text(good: str, read: Callable[[str], object], *declared: type[Exception]) -> Parser:
    return Parser(good.encode(), lambda raw: read(raw.decode("utf-8", "replace")), declared)


FACTS = agreement.canonical({"margin": 0.8, "rounding": "exact", "shape": [1, 512]})


def metadata(said: str) -> float:
    """What a client makes of trailing metadata."""
    pair = ((status.RETRY_AFTER, said), (status.ERROR_ID, said))
    call: Any = SimpleNamespace(trailing_metadata=lambda: pair)
    status._logged_as(call)
    return status._retry_after_s(call, at_most_s=60)


GRAPH = {
    "kind": "model",
    "name": "a",
    "input": [1, 6, 6],
    "layers": [
        {"kind": "conv", "channels": 2, "kernel": [3, 3], "padding": [1, 1], "of": -1},
        {"kind": "max_pool", "window": 2, "stride": 2},
        {"kind": "add", "plus": 1},
        {"kind": "flatten"},
        {"kind": "dense", "features": 2},
    ],
    "labels": ["no", "yes"],
}


TEXTS = {
    "spec": text(SPEC.to_json(), RanSpec.from_json, CheckpointError),
    "graph of a model": text(json.dumps(GRAPH), spec_from_json, CheckpointError),
    "facts of a worker": text(FACTS, lambda theirs: agreement.disagreement(FACTS, theirs)),
    "identity": text("spiffe://privedge/client/ana", Identity.from_uri, CertificateError),
    "metadata": text("2500", metadata),
    "page token": text("1700000000." + "0" * 32, codec.page_from_wire, ShareError),
}


# --- Files ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def file(
    folder: Path, name: str, good: bytes, read: Callable[[Path], object], *declared: type[Exception]
) -> Parser:
    path = folder / name

    def written(raw: bytes) -> object:
        path.write_bytes(raw)
        return read(path)

    path.touch(0o600)
    return Parser(good, written, declared)


def a_ran(folder: Path) -> bytes:
    draw = np.random.default_rng(0)
    parameters = {name: np.zeros(shape, np.float32) for name, shape in SPEC.parameters().items()}
    basis = next(name for name in parameters if name.endswith("basis"))
    parameters[basis] = np.linalg.qr(draw.normal(size=parameters[basis].T.shape))[0].T.astype("f4")
    checkpoint.save(Ran(SPEC, "ana", parameters), folder / "good.ran")
    return (folder / "good.ran").read_bytes()


def described(folder: Path) -> Parser:
    """Bytes as the metadata of a model file, whose tensors are right."""
    with safe_open(folder / "good.ran", framework="np") as good:
        tensors = {name: good.get_tensor(name) for name in SPEC.parameters()}
        said = good.metadata()[checkpoint._METADATA]

    def read(raw: bytes) -> object:
        metadata = {checkpoint._METADATA: raw.decode("utf-8", "replace")}
        (folder / "described.ran").write_bytes(to_safetensors(tensors, metadata))
        return checkpoint.load(folder / "described.ran")

    return Parser(said.encode(), read, (CheckpointError,))


def a_picture(kind: str) -> bytes:
    raw = io.BytesIO()
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(raw, kind)
    return raw.getvalue()


def an_npz() -> bytes:
    raw = io.BytesIO()
    np.savez(raw, images=np.zeros((2, 8, 8), np.uint8), labels=np.array([0, 1]))
    return raw.getvalue()


def an_onnx_file(folder: Path) -> bytes:
    """A small network of a few operations, most of whose bytes are structure."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"], epsilon=0.5),
        node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["c", "flat"], ["d"]),
        node("Gemm", ["d", "v"], ["y"], transB=1),
    ]
    weights = [
        onnx_files.tensor("w", np.ones((2, 1, 3, 3))),
        onnx_files.tensor("s", np.ones(2)),
        onnx.numpy_helper.from_array(np.array([0, -1]), "flat"),
        onnx_files.tensor("v", np.ones((2, 8))),
    ]
    path = onnx_files.saved(folder / "good.onnx", nodes, weights, shape=("n", 1, 4, 4))
    return path.read_bytes()


def a_model(folder: Path) -> bytes:
    model = Model.from_onnx(an_onnx_file(folder), owner="ana", name="a")
    model.save(folder / "good.model")
    return (folder / "good.model").read_bytes()


def is_whole(path: Path) -> None:
    """No other bytes than the committed ones pass for a share."""
    row: Any = SimpleNamespace(
        manifest=MANIFEST, salt=SALT, model_id=MANIFEST.model_id, commitments=(), version=""
    )
    assert (fault(path, row, Vault(0)) is None) == (path.read_bytes() == WORDS)


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, Parser]:
    create_authority(folder)
    paths = issue(folder, Identity(Role.PARTY0, "party0"))
    sample = ROOT / "parties/samples"
    identity = b'{"format": 1, "party": 0, "folder": "a", "epoch": 1}'.ljust(BLOCK)
    denied = b"spiffe://privedge/client/ana\n00:ff  # a serial\n"
    return {
        "share": file(folder, "a.words", WORDS, is_whole),
        "model": file(folder, "a.ran", a_ran(folder), checkpoint.load, CheckpointError),
        "description of a model": described(folder),
        "onnx": file(
            folder, "a.onnx", an_onnx_file(folder),
            lambda path: Model.from_onnx(path, owner="ana", name="a"), CheckpointError, RangeError,
        ),
        "served model": file(
            folder, "a.model", a_model(folder), served_model.load, CheckpointError
        ),
        "party's configuration": file(
            folder, "p.toml", (sample / "party0.toml").read_bytes(),
            lambda path: load(PartyConfig, path), ConfigError,
        ),
        "client's configuration": file(
            folder, "c.toml", (sample / "client.toml").read_bytes(),
            lambda path: load(ClientConfig, path), ConfigError,
        ),
        "certificate": file(
            folder, "x.crt", paths.certificate.read_bytes(), read_chain, CertificateError
        ),
        "key": file(folder, "x.key", paths.key.read_bytes(), read_key, CertificateError),
        "deny list": file(folder, "denied", denied, callers._entries, ConfigError),
        "png": file(folder, "a.png", a_picture("PNG"), images.decode, ImageError),
        "jpeg": file(folder, "a.jpg", a_picture("JPEG"), images.decode, ImageError),
        "npz": file(
            folder, "a.npz", an_npz(), lambda path: npz.read(path).of_label(0), ImageError
        ),
        "identity of a folder": file(
            folder, "identity.json", identity, lambda path: IdentityFile(folder).read(), ConfigError
        ),
    }  # fmt: skip


FILES = (
    "share", "model", "description of a model", "onnx", "served model", "party's configuration",
    "client's configuration", "certificate", "key", "deny list", "png", "jpeg", "npz",
    "identity of a folder",
)  # fmt: skip
EACH = max(1, CASES // (len(MESSAGES) + len(TEXTS) + len(FILES)))


# --- Cases ----------------------------------------------------------------------------------------


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """`good` with up to four places overwritten, cut out or grown."""
    raw = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw)))
        raw[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(raw)


# What a parser that calls itself once a level would not survive.
deep = st.sampled_from([b"[", b'{"a":', b"[[a", b"a.", b"\x0a\x7f"]).map(lambda part: part * 20_000)


@contextmanager
def bounded() -> Iterator[None]:
    """No case hangs, and all of them together do not fill the memory."""

    def hangs(*_: object) -> None:
        raise AssertionError("a case hangs")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = signal.signal(signal.SIGALRM, hangs)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, kept)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_MEMORY_KIB


def fuzz(parser: Parser) -> None:
    parser.read(parser.good)

    @settings(max_examples=EACH, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=LONGEST) | damaged(parser.good) | deep)
    def every(raw: bytes) -> None:
        signal.alarm(HANGS_AFTER_S)
        with suppress(*parser.declared):
            parser.read(raw)

    with bounded():
        every()


@pytest.mark.parametrize("name", MESSAGES)
def test_c49_bytes_for_a_message_are_read_or_refused(name):
    fuzz(MESSAGES[name])


@pytest.mark.parametrize("name", TEXTS)
def test_c49_a_text_is_read_or_refused(name):
    fuzz(TEXTS[name])


@pytest.mark.parametrize("name", FILES)
def test_c49_bytes_of_a_file_are_read_or_refused(name, files):
    fuzz(files[name])


def test_what_is_declared_is_an_error_of_ours(files):
    assert set(files) == set(FILES)
    for parser in (*MESSAGES.values(), *TEXTS.values(), *files.values()):
        for kind in parser.declared:
            assert issubclass(kind, PrivEdgeError | DecodeError)


def test_a_parser_that_raises_anything_else_is_found():
    with pytest.raises(ZeroDivisionError):
        fuzz(Parser(b"1", lambda raw: 1 / len(raw), (ShareError,)))
