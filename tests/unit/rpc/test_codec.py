import math

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from privedge.errors import ShareError
from privedge.identity.roles import NAME
from privedge.rpc import codec
from privedge.sharing.cost import Cost, Phase
from privedge.sharing.manifest import ModelManifest, TensorEntry, UploadHeader
from privedge.sharing.question import Question, new_query_id
from privedge.wire import party_pb2 as pb

ids = st.from_regex(r"[0-9a-f]{32}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
names = st.from_regex(NAME, fullmatch=True)
shapes = st.lists(st.integers(1, 16), min_size=1, max_size=6).map(tuple)
entries = st.builds(
    TensorEntry,
    name=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True),
    shape=shapes,
    commitments=st.tuples(digests, digests),
)
manifests = st.builds(
    ModelManifest,
    model_id=ids,
    cohort=names,
    owner=names,
    spec_digest=digests,
    tensors=st.lists(entries, min_size=1, max_size=4, unique_by=lambda e: e.name).map(tuple),
)
headers = st.builds(UploadHeader, manifests, st.binary(min_size=32, max_size=32))
questions = st.builds(
    Question,
    query_id=ids,
    cohort=names,
    snapshot_id=digests,
    shape=shapes,
    verify_owner=st.none() | names,
    one_subject=st.booleans(),
)
counts = st.integers(0, 1 << 53)
seconds = st.floats(0, 1e9)
phases = st.builds(Phase, st.from_regex(r"[a-z]{1,32}", fullmatch=True), counts, counts)
costs = st.builds(
    Cost,
    *[counts] * 3,
    *[seconds] * 4,
    st.lists(phases, max_size=16, unique_by=lambda phase: phase.name).map(tuple),
)


@given(manifests)
def test_a_manifest_survives_the_wire_with_its_digest(manifest):
    raw = codec.manifest_to_wire(manifest).SerializeToString()
    back = codec.manifest_from_wire(pb.ModelManifest.FromString(raw))
    assert back == manifest and back.digest() == manifest.digest()


@given(headers)
def test_an_upload_header_survives_the_wire(header):
    raw = codec.upload_header_to_wire(header).SerializeToString()
    assert codec.upload_header_from_wire(pb.UploadHeader.FromString(raw)) == header


@given(questions)
def test_a_question_survives_the_wire_with_its_digest(question):
    raw = codec.question_to_wire(question).SerializeToString()
    back = codec.question_from_wire(pb.QueryHeader.FromString(raw))
    assert back == question and back.digest("ana") == question.digest("ana")


@given(costs)
def test_a_cost_survives_the_wire(cost):
    raw = codec.cost_to_wire(cost).SerializeToString()
    assert codec.cost_from_wire(pb.Cost.FromString(raw)) == cost


FROM_WIRE = [
    (pb.ModelManifest, codec.manifest_from_wire, codec.manifest_to_wire),
    (pb.UploadHeader, codec.upload_header_from_wire, codec.upload_header_to_wire),
    (pb.QueryHeader, codec.question_from_wire, codec.question_to_wire),
    (pb.Cost, codec.cost_from_wire, codec.cost_to_wire),
]


@pytest.mark.parametrize(("message", "from_wire", "to_wire"), FROM_WIRE)
@given(raw=st.binary(max_size=200))
def test_garbage_is_refused_or_means_what_it_says(message, from_wire, to_wire, raw):
    try:
        parsed = message.FromString(raw)
    except DecodeError:
        return
    try:
        domain = from_wire(parsed)
    except ShareError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert from_wire(to_wire(domain)) == domain


def manifest(**changes):
    entry = pb.TensorEntry(name="0.weight", shape=[2, 3], commitments=[b"\1" * 32, b"\2" * 32])
    fields = {
        "model_id": "a" * 32, "cohort": "digits", "owner": "ana", "spec_digest": "b" * 64,
        "tensors": [entry],
    }  # fmt: skip
    return pb.ModelManifest(**(fields | changes))


def tensor(**changes):
    fields = {"name": "w", "shape": [2], "commitments": [b"\1" * 32, b"\2" * 32]}
    return pb.TensorEntry(**(fields | changes))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (manifest(model_id="A" * 32), "model_id"),
        (manifest(model_id="a" * 31), "model_id"),
        (manifest(model_id="a" * 32 + "\n"), "model_id"),
        (manifest(cohort=""), "cohort"),
        (manifest(cohort="../etc"), "cohort"),
        (manifest(owner="a/b"), "owner"),
        (manifest(spec_digest="b" * 63), "spec_digest"),
        (manifest(tensors=[]), "tensors"),
        (manifest(tensors=[tensor(name=str(i)) for i in range(257)]), "tensors"),
        (manifest(tensors=[tensor(), tensor()]), "same name"),
        (manifest(tensors=[tensor(name="W")]), "tensor 0: name"),
        (manifest(tensors=[tensor(name="")]), "tensor 0: name"),
        (manifest(tensors=[tensor(), tensor(name="v", shape=[])]), "tensor 1"),
        (manifest(tensors=[tensor(shape=[0])]), "positive"),
        (manifest(tensors=[tensor(shape=[1] * 7)]), "dimensions"),
        (manifest(tensors=[tensor(shape=[1 << 63, 1 << 63])]), "words in all"),
        (manifest(tensors=[tensor(shape=[1 << 20, 1 << 20])]), "words in all"),
        (manifest(tensors=[tensor(commitments=[b"\1" * 32])]), "two commitments"),
        (manifest(tensors=[tensor(commitments=[b"\1" * 31, b"\2" * 32])]), "two commitments"),
        (manifest(tensors=[tensor(commitments=[b"\1" * 32] * 3)]), "two commitments"),
    ],
)
def test_a_malformed_manifest_is_refused_by_field(message, field):
    with pytest.raises(ShareError, match=field):
        codec.manifest_from_wire(message)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_salt_of_another_length_is_refused(size):
    with pytest.raises(ShareError, match="salt"):
        codec.upload_header_from_wire(pb.UploadHeader(manifest=manifest(), salt=bytes(size)))


def header(**changes):
    fields = {
        "query_id": b"\1" * 16, "cohort": "digits", "snapshot_id": "c" * 64, "shape": [1, 8],
        "identify": pb.Identify(),
    }  # fmt: skip
    return pb.QueryHeader(**(fields | changes))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (header(query_id=b""), "query_id"),
        (header(query_id=b"\1" * 17), "query_id"),
        (header(cohort="a b"), "cohort"),
        (header(snapshot_id=""), "snapshot_id"),
        (header(snapshot_id="c" * 65), "snapshot_id"),
        (header(shape=[]), "dimensions"),
        (header(shape=[0, 8]), "positive"),
        (header(shape=[1 << 40]), "words in all"),
        (header(identify=None), "neither identify nor verify"),
        (header(identify=None, verify=pb.Verify(owner="")), "owner"),
    ],
)
def test_a_malformed_query_header_is_refused_by_field(message, field):
    with pytest.raises(ShareError, match=field):
        codec.question_from_wire(message)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_a_cost_that_is_no_amount_of_time_is_refused(value):
    with pytest.raises(ShareError, match="out of range"):
        codec.cost_from_wire(pb.Cost(online_s=value))


@given(questions, questions)
def test_questions_have_one_digest_only_if_they_are_the_same(one, other):
    assert (one.digest("ana") == other.digest("ana")) == (one == other)


@given(questions)
def test_w16_halves_of_two_clients_have_two_digests(question):
    assert question.digest("ana") != question.digest("bo")


def test_a_query_id_is_fresh_each_time():
    assert len({new_query_id() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "phases",
    [
        [pb.Phase(name="network", rounds=1 << 60)],
        [pb.Phase(name="Not A Name")],
        [pb.Phase(name="a")] * 17,
    ],
)
def test_phases_that_no_party_would_report_are_refused(phases):
    with pytest.raises(ShareError, match="cost"):
        codec.cost_from_wire(pb.Cost(phases=phases))
