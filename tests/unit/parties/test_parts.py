"""parties/party/models/parts.py and its form on the wire: lists of models that cross in parts."""

import hashlib
from concurrent import futures
from dataclasses import replace

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.party.edge import codec, parts_codec
from parties.party.edge.peer import PeerClient
from parties.party.models.cohorts import ModelRef
from parties.party.models.parts import MOST_PARTS, Listed, Parts, parts_for
from parties.party.models.standing import Said
from parties.wire import peer_pb2 as pb
from parties.wire import peer_pb2_grpc
from privedge.errors import ShareError

SAID = Said("a" * 32, 7, 5, "p-here.1")


def listed(number: int, *, version: str = "", quarantined: bool = False) -> Listed:
    """A made-up model; ids are as uniform as real ones."""
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return Listed(ModelRef(digest[:32], digest, version), quarantined)


LISTS = st.lists(st.builds(listed, st.integers(0, 60), quarantined=st.booleans()), max_size=40)


@given(LISTS, LISTS, st.integers(1, 9))
def test_what_a_party_has_and_the_parts_that_differ_make_the_other_list(mine, theirs, count):
    here, there = Parts(mine, count), Parts(theirs, count)
    sent = there.differing(here.digests)
    assert sent == here.differing(there.digests)
    found = [*there.of(sent), *here.but(sent)]
    assert Parts(found, count).root == there.root
    assert sorted(map(repr, found)) == sorted(map(repr, theirs))
    assert (not sent) == (sorted(map(repr, mine)) == sorted(map(repr, theirs)))


@pytest.mark.parametrize(
    ("models", "parts"), [(0, 1), (1, 1), (4096, 1), (4097, 2), (120_000, 32), (1_000_000, 256)]
)
def test_a_million_models_have_digests_of_eight_kilobytes(models, parts):
    assert parts_for(models) == parts
    assert parts_for(1 << 40) == MOST_PARTS


def test_the_order_of_a_list_does_not_count_and_everything_else_does():
    models = [listed(number) for number in range(50)]
    before = Parts(models, 4)
    assert Parts(reversed(models), 4).digests == before.digests
    one = models[3]
    for other in (
        replace(one, quarantined=True),
        replace(one, ref=replace(one.ref, version="b" * 32)),
        replace(one, ref=replace(one.ref, manifest_digest="c" * 64)),
    ):
        changed = Parts([*models[:3], other, *models[4:]], 4)
        assert len(changed.differing(before.digests)) == 1
        assert changed.root != before.root


def test_a_digest_is_of_the_lines_that_the_proto_says():
    model = listed(1)
    lines = f"{model.ref.model_id} {model.ref.manifest_digest} - active\n"
    expected = hashlib.sha256(b"privedge models v1\n" + lines.encode()).digest()
    assert Parts([model], 1).digests == (expected,)
    assert Parts([model], 1).root == hashlib.sha256(expected).digest()


def test_a_list_crosses_in_messages_of_bounded_size():
    models = [listed(number, version="d" * 32) for number in range(20_000)]
    parts = Parts(models, 8)
    messages = list(parts_codec.parts_to_wire("faces", SAID, parts, (1, 4), {"e" * 32}))
    assert max(message.ByteSize() for message in messages) < 2 << 20
    said = parts_codec.parts_from_wire(messages[0], messages[1:])
    assert (said.count, said.sent, said.root) == (8, {1, 4}, parts.root)
    assert list(said.listed) == list(parts.of((1, 4)))
    assert codec.said_from_wire(messages[0]) == SAID


@pytest.mark.parametrize(
    "changes",
    [
        {"parts": 0},
        {"parts": MOST_PARTS + 1},
        {"sent": [8]},
        {"sent": [1, 1]},
        {"root": b"short"},
    ],
)
def test_a_list_in_parts_that_cannot_be_is_refused(changes):
    fields = {"cohort": "faces", "parts": 8, "sent": [1], "root": bytes(32)} | changes
    with pytest.raises(ShareError):
        parts_codec.parts_from_wire(pb.FollowActiveModelsRequest(**fields), ())


class Older(peer_pb2_grpc.PeerServicer):
    """Party 1 of a release that takes no parts."""

    def __init__(self):
        self.told = []

    def SetActiveModels(self, request, context):
        self.told.append(request)
        return pb.SetActiveModelsResponse(unwanted=["f" * 32])


@pytest.mark.parametrize("models", [3, 9000])
def test_a_party_1_of_an_older_release_gets_the_whole_list(models):
    older = Older()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    peer_pb2_grpc.add_PeerServicer_to_server(older, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    refs = [listed(number).ref for number in range(models)]
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            peer = PeerClient(peer_pb2_grpc.PeerStub(channel), "party 1")
            _, unwanted = peer.set_active("faces", refs[1:], refs[:1], SAID)
    finally:
        server.stop(None).wait()
    (request,) = older.told
    assert unwanted == {"f" * 32}
    assert [codec.model_ref_from_wire(each) for each in request.models] == refs[1:]
    assert [codec.model_ref_from_wire(each) for each in request.quarantined] == refs[:1]
