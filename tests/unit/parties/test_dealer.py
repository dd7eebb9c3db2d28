"""The dealer over real gRPC: it pairs two parties, serves each counter once and nothing else."""

import itertools
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from parties import tuple_codec
from parties.config.dealer import DealerConfig, DealerLimits
from parties.dealer import DealerServicer, serve_dealer
from parties.mpc.dealing import Dealer, SessionId, Tuples, new_seed
from parties.mpc.tuples import Square
from parties.serving.handshake import Handshake
from parties.wire import dealer_pb2 as pb
from parties.wire import dealer_pb2_grpc
from parties.worker.dealer_stream import DealerStream
from privedge.errors import (
    AlreadyExists,
    ConfigError,
    DeadlineExceeded,
    LimitExceeded,
    NotAllowed,
    ShareError,
    Unreachable,
)
from privedge.identity.roles import Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server
from privedge.rpc.status import calls_to

PARTIES = (Role.PARTY0, Role.PARTY1)


def servicer(limits: DealerLimits | None = None, **timeouts: float) -> DealerServicer:
    """Of a dealer whose server the test builds."""
    config = DealerConfig(
        listen="127.0.0.1:0",
        insecure_loopback=True,
        limits=limits or DealerLimits(),
        timeouts=timeouts,
    )
    return DealerServicer(config, Handshake())


@pytest.fixture(scope="module")
def address(tls_for) -> Iterator[str]:
    limits = DealerLimits(max_elements=1000, max_sessions=4)
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
    dealer_pb2_grpc.add_DealerServicer_to_server(servicer(limits), server)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def stubs(address, tls_for) -> Iterator[list[dealer_pb2_grpc.DealerStub]]:
    channels = [open_channel(address, server=Role.DEALER, tls=tls_for(role)) for role in PARTIES]
    yield [dealer_pb2_grpc.DealerStub(channel) for channel in channels]
    for channel in channels:
        channel.close()


def fresh() -> SessionId:
    return SessionId(os.urandom(16))


def opened(stubs, run: SessionId) -> list[DealerStream]:
    return [DealerStream(stub, run, new_seed(), Deadline.after(20)) for stub in stubs]


def wanted(counter: int, *shape: int) -> list[tuple[int, Square]]:
    return [(counter, Square(shape))]


def test_two_parties_draw_tuples_that_fit_together(stubs):
    run, seeds = fresh(), [new_seed(), new_seed()]
    deadline = Deadline.after(20)
    links = [
        DealerStream(stub, run, seed, deadline) for stub, seed in zip(stubs, seeds, strict=True)
    ]
    sides = [Tuples(party, run, seeds[party], links[party]) for party in (0, 1)]
    for _ in range(3):
        first, second = (side.draw(Square((7,))) for side in sides)
        r = first.free[0] + second.free[0]
        assert (first.derived[0] + second.derived[0] == r * r).all()
    assert [link.bytes_received for link in links] == [2 * 7 * 8, 7 * 8]
    for link in links:
        link.finish()


def test_large_corrections_come_in_several_pieces(stubs):
    streams = opened(stubs, fresh())
    streams[0].request(wanted(0, 1000))
    assert streams[0].receive(0).numel() == 1000
    for stream in streams:
        stream.finish()


def test_a_repeated_counter_is_refused(stubs):
    streams = opened(stubs, fresh())
    streams[0].request(wanted(0, 2))
    streams[0].receive(0)
    streams[0].request(wanted(0, 2))
    with pytest.raises(AlreadyExists):
        streams[0].receive(0)
    streams[1].abandon()


def test_a_counter_repeated_in_one_request_is_refused(stubs):
    streams = opened(stubs, fresh())
    streams[0].request(wanted(0, 2) + wanted(0, 2))
    with pytest.raises(AlreadyExists):
        streams[0].receive(0)
    streams[1].abandon()


@pytest.mark.parametrize("sizes", [[8] * 12, [1000] * 20, [8, 1000, 64] * 9, [512] * 33])
def test_small_corrections_share_messages_up_to_a_limit(stubs, sizes):
    run = fresh()
    other = DealerStream(stubs[1], run, new_seed(), Deadline.after(20))
    tuples = [tuple_codec.to_wire(2 * place, Square((size,))) for place, size in enumerate(sizes)]
    opening = pb.OpenSession(session=run.session, seed=new_seed())
    requests = [
        pb.DealRequest(open=opening),
        pb.DealRequest(tuples=pb.TupleRequests(tuples=tuples)),
    ]
    messages = list(stubs[0].Deal(iter(requests), timeout=20))
    other.abandon()
    words: dict[int, int] = {}
    for message in messages:
        lengths = [len(part.words) for part in message.parts]
        assert lengths and (len(lengths) == 1 or sum(lengths) <= 1 << 16)
        for part in message.parts:
            words[part.counter] = words.get(part.counter, 0) + len(part.words)
    assert words == {2 * place: 8 * size for place, size in enumerate(sizes)}
    # No two that follow each other would have fitted into one.
    for before, after in itertools.pairwise(messages):
        together = [*before.parts, after.parts[0]]
        assert sum(len(part.words) for part in together) > 1 << 16


def test_a_session_cannot_be_opened_again(stubs):
    run = fresh()
    for stream in opened(stubs, run):
        stream.finish()
    again = opened(stubs, run)[0]
    again.request(wanted(0, 2))
    with pytest.raises(AlreadyExists):
        again.receive(0)


def test_a_correction_for_the_other_party_is_refused(stubs):
    streams = opened(stubs, fresh())
    streams[0].request(wanted(1, 2))
    with pytest.raises(NotAllowed):
        streams[0].receive(1)
    streams[1].abandon()


def test_a_tuple_beyond_the_limit_is_refused(stubs):
    streams = opened(stubs, fresh())
    streams[0].request(wanted(0, 1001))
    with pytest.raises(LimitExceeded):
        streams[0].receive(0)
    streams[1].abandon()


def test_a_side_that_has_said_all_is_served_and_does_not_end_the_other(stubs):
    for _ in range(20):
        streams = opened(stubs, fresh())
        # Its call ends as soon as both sides are there, perhaps before the other is served.
        streams[1].request([], last=True)
        streams[0].request(wanted(0, 2) + wanted(2, 3), last=True)
        assert [streams[0].receive(counter).numel() for counter in (0, 2)] == [2, 3]
        for stream in streams:
            stream.finish()


def test_a_session_that_both_have_left_is_over(stubs):
    run = fresh()
    streams = opened(stubs, run)
    streams[0].request(wanted(0, 2))
    streams[0].receive(0)
    streams[0].finish()
    streams[1].finish()
    late = DealerStream(stubs[1], run, new_seed(), Deadline.after(20))
    late.request(wanted(1, 2))
    with pytest.raises(AlreadyExists):
        late.receive(1)


def test_a_side_that_leaves_before_the_other_comes_leaves_no_thread_waiting(tls_for):
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
    dealer_pb2_grpc.add_DealerServicer_to_server(servicer(), server)
    server.start()
    with ExitStack() as stack:
        stack.callback(lambda: server.stop(None).wait())
        stubs = [
            dealer_pb2_grpc.DealerStub(
                stack.enter_context(
                    open_channel(f"127.0.0.1:{port}", server=Role.DEALER, tls=tls_for(role))
                )
            )
            for role in PARTIES
        ]
        waiting = DealerStream(stubs[0], fresh(), new_seed(), Deadline.after(20))
        # Refused by the other thread, so the first one has come before.
        with pytest.raises(ShareError), calls_to("the dealer"):
            next(stubs[0].Deal(iter([pb.DealRequest()])))
        waiting.abandon()
        run = fresh()
        # Both threads, and in less time than a side waits for the other.
        pair = [DealerStream(stub, run, new_seed(), Deadline.after(10)) for stub in stubs]
        pair[0].request(wanted(0, 2))
        assert pair[0].receive(0).numel() == 2
        for stream in pair:
            stream.finish()


def test_a_side_whose_other_party_never_comes_ends_after_the_dealers_patience(tls_for):
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
    dealer_pb2_grpc.add_DealerServicer_to_server(servicer(pairing_s=0.05), server)
    server.start()
    with ExitStack() as stack:
        stack.callback(lambda: server.stop(None).wait())
        channel = stack.enter_context(
            open_channel(f"127.0.0.1:{port}", server=Role.DEALER, tls=tls_for(Role.PARTY0))
        )
        stub = dealer_pb2_grpc.DealerStub(channel)
        with pytest.raises(DeadlineExceeded):
            DealerStream(stub, fresh(), new_seed(), Deadline.after(60)).receive(0)


@pytest.mark.parametrize("role", [Role.OWNER, Role.CLIENT, Role.ADMIN])
def test_nobody_but_a_party_is_served(address, tls_for, role):
    with open_channel(address, server=Role.DEALER, tls=tls_for(role, "someone")) as channel:
        call = dealer_pb2_grpc.DealerStub(channel).Deal(iter(()), timeout=10)
        with pytest.raises(NotAllowed), calls_to("dealer"):
            next(call)


@pytest.mark.parametrize(
    "first",
    [
        pb.DealRequest(),
        pb.DealRequest(tuples=pb.TupleRequests()),
        pb.DealRequest(open=pb.OpenSession(session=b"short", seed=bytes(32))),
        pb.DealRequest(open=pb.OpenSession(session=bytes(16), seed=b"short")),
    ],
)
def test_a_malformed_opening_is_refused(stubs, first):
    with pytest.raises(ShareError), calls_to("dealer"):
        next(stubs[0].Deal(iter([first]), timeout=10))


def test_the_dealer_goes_on_after_every_refusal(stubs):
    streams = opened(stubs, fresh())
    streams[1].request(wanted(1, 5))
    assert streams[1].receive(1).numel() == 5
    for stream in streams:
        stream.finish()


def test_a_party_that_does_not_read_makes_the_dealer_stop_dealing_to_it(tls_for, monkeypatch):
    """Flow control holds it back, so what it has computed and not sent is bounded."""
    tuples, elements = 64, 1 << 17  # a MiB each
    dealt = [0, 0]
    correct = Dealer.correct

    def counting(dealer, party, counter, kind):
        dealt[party] += 1
        return correct(dealer, party, counter, kind)

    monkeypatch.setattr(Dealer, "correct", counting)
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
    limits = DealerLimits(max_elements=elements)
    dealer_pb2_grpc.add_DealerServicer_to_server(servicer(limits), server)
    server.start()
    with ExitStack() as stack:
        stack.callback(lambda: server.stop(None).wait())
        channels = [
            stack.enter_context(
                open_channel(f"127.0.0.1:{port}", server=Role.DEALER, tls=tls_for(role))
            )
            for role in PARTIES
        ]
        slow, quick = opened([dealer_pb2_grpc.DealerStub(each) for each in channels], fresh())
        for party, stream in enumerate((slow, quick)):
            stream.request([(2 * n + party, Square((elements,))) for n in range(tuples)])
        for n in range(tuples):
            assert quick.receive(2 * n + 1).numel() == elements
        # All of that one's went through the same dealer meanwhile.
        assert dealt[1] == tuples and dealt[0] <= tuples // 4
        for n in range(tuples):
            assert slow.receive(2 * n).numel() == elements
        assert dealt[0] == tuples
        for stream in (slow, quick):
            stream.finish()


def test_what_reaches_the_dealer_has_no_field_for_a_share():
    """Seeds, ids, counters, kinds, shapes: the messages cannot carry words upwards."""
    bytes_fields = {
        f"{message.name}.{field.name}"
        for message in pb.DESCRIPTOR.message_types_by_name.values()
        for field in message.fields
        if field.type == field.TYPE_BYTES
    }
    opening = {"OpenSession.session", "OpenSession.seed", "OpenSession.weight_seed"}
    assert bytes_fields == opening | {"CorrectionPart.words"}


def test_a_lost_dealer_is_unreachable(tls_for):
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
    server.start()
    address = f"127.0.0.1:{port}"
    with open_channel(address, server=Role.DEALER, tls=tls_for(Role.PARTY0)) as channel:
        server.stop(None).wait()
        stream = DealerStream(
            dealer_pb2_grpc.DealerStub(channel), fresh(), new_seed(), Deadline.after(20)
        )
        with pytest.raises(Unreachable):
            stream.receive(0)


def test_c62_a_dealer_whose_metrics_cannot_be_served_takes_no_call(tls_for, caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken, caplog.at_level(logging.INFO):
        config = DealerConfig(
            listen="127.0.0.1:0",
            tls=tls_for(Role.DEALER),
            metrics={"listen": f"127.0.0.1:{taken.getsockname()[1]}"},
        )
        with pytest.raises(ConfigError, match="metrics cannot be served"):
            serve_dealer(config)
    assert "listening" not in caplog.text and "ready" not in caplog.text
