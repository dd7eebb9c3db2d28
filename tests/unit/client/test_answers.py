"""A party that answers wrongly, or not at all, is refused: never an answer, never a crash."""

from collections.abc import Iterable
from itertools import chain, repeat

import numpy as np
import pytest

from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.errors import IntegrityError, ShareError
from privedge.ran.presets import preset
from privedge.rpc.access import ACCESS
from privedge.rpc.server import build_server
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc

SPEC = preset("subspace32", height=32, width=32, channels=1, components=2)
COHORT = pb.DescribeCohortResponse(
    spec_json=SPEC.to_json(), margin=1.0, owners=["ann", "bob"], snapshot_id="s", max_batch=4
)


class Scripted(party_pb2_grpc.PartyServicer):
    """A party that says what it is told to, whatever the question."""

    def __init__(self, responses: Iterable[pb.QueryResponse]) -> None:
        self._responses = responses

    def DescribeCohort(self, request, context):
        return COHORT

    def Query(self, request_iterator, context):
        for _ in request_iterator:
            pass
        yield from self._responses


def words(*values: int, shape: tuple[int, ...] = (1, 2)) -> list[pb.QueryResponse]:
    header = pb.QueryResponse(header=pb.AnswerHeader(shape=shape, cost=pb.Cost()))
    return [header, pb.QueryResponse(words=np.array(values, dtype="<u8").tobytes())]


def asked(first: Iterable[pb.QueryResponse], second: Iterable[pb.QueryResponse]) -> str | None:
    """What a client makes of the two parties' answers."""
    servers, addresses = [], []
    for responses in (first, second):
        server, port = build_server("127.0.0.1:0", tls=None, access=ACCESS)
        party_pb2_grpc.add_PartyServicer_to_server(Scripted(responses), server)
        server.start()
        servers.append(server)
        addresses.append(f"127.0.0.1:{port}")
    config = ClientConfig(
        party0=addresses[0],
        party1=addresses[1],
        insecure_loopback=True,
        role="client",
        name="carla",
        rpc_timeout_s=20,
    )
    try:
        with Client(config) as client:
            image = np.zeros((1, 32, 32), np.uint8)
            return client.identify(image, "digits").answers[0].owner
    finally:
        for server in servers:
            server.stop(None).wait()


def test_shares_that_add_up_are_an_answer():
    assert asked(words(5, 7), words(2**64 - 5, 2**64 - 6)) == "bob"
    assert asked(words(5, 7), words(2**64 - 5, 2**64 - 7)) is None


@pytest.mark.parametrize("second", [(1, 1), (2, 0), (2**64 - 1, 0), (2**63, 2**63)])
def test_c46_shares_that_do_not_add_up_are_refused(second):
    with pytest.raises(IntegrityError):
        asked(words(0, 0), words(*second))


@pytest.mark.parametrize(
    "second",
    [
        [],
        words(0, 0, 0),
        words(0, 0, shape=(2,)),
        words(0, 0, 0, shape=(1, 3)),
        words(0, 0)[1:],
        words(0, 0)[:1],
    ],
    ids=["nothing", "too long", "flat", "wider", "no header", "no words"],
)
@pytest.mark.parametrize("first", [0, 1])
def test_an_answer_of_another_form_is_refused(first, second):
    halves = [words(0, 0), second]
    with pytest.raises((ShareError, IntegrityError)):
        asked(halves[first], halves[1 - first])


ENDLESS = {
    "words": pb.QueryResponse(words=bytes(8)),
    "empty words": pb.QueryResponse(words=b""),
    "headers": words(0, 0)[0],
}


@pytest.mark.parametrize("more", sorted(ENDLESS))
@pytest.mark.parametrize("first", [0, 1])
def test_w16_an_answer_without_end_is_not_read_to_the_end(first, more):
    halves = [words(0, 0), chain(words(0, 0), repeat(ENDLESS[more]))]
    with pytest.raises(ShareError, match="not the 16 bytes expected"):
        asked(halves[first], halves[1 - first])


def test_w16_an_answer_as_large_as_a_party_likes_is_refused_by_its_header():
    huge = pb.QueryResponse(header=pb.AnswerHeader(shape=(1, 1 << 20), cost=pb.Cost()))
    with pytest.raises(IntegrityError, match="instead of"):
        asked(words(0, 0), chain([huge], repeat(ENDLESS["words"])))
