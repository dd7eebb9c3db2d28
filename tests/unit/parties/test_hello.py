"""Servers exchange hellos over real gRPC: on every connection, with old and new servers."""

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import grpc
import pytest
from unheard import Unheard

from parties.config.dealer import DealerConfig
from parties.dealer import DealerServicer
from parties.party.edge.hello import DealerGreeter, Hello
from parties.party.terms import CohortTerms, Terms
from parties.serving.handshake import Handshake
from parties.serving.lifecycle import add_health
from parties.serving.versions import from_wire, to_wire
from parties.wire import dealer_pb2, dealer_pb2_grpc, peer_pb2_grpc
from privedge.errors import NotAllowed, TermsDiffer, Unreachable
from privedge.identity.roles import Role
from privedge.rpc import versions
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.server import build_server
from privedge.rpc.status import calls_to
from privedge.rpc.versions import MPC

SOON = 30
TERMS = Terms("fused", "one-unit", 1, (CohortTerms("digits", "5a" * 32, 0.8, 0.0),))


class Party1(peer_pb2_grpc.PeerServicer):
    def __init__(self, terms: Terms) -> None:
        self.handshake = Handshake()
        self._hello = Hello(terms, self.handshake, Unheard())

    def Hello(self, request, context):
        return self._hello.from_party(request)

    def add(self, server: grpc.Server) -> None:
        peer_pb2_grpc.add_PeerServicer_to_server(self, server)


@contextmanager
def served(tls_for, role: Role, add, *, port: int = 0) -> Iterator[int]:
    server, port = build_server(f"127.0.0.1:{port}", tls=tls_for(role), access=ACCESS)
    add(server)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def asked(port: int, tls_for, terms: Terms = TERMS, *, role: Role = Role.PARTY0) -> Handshake:
    """What party 0 knows after one hello to party 1."""
    handshake = Handshake()
    files = tls_for(role, None if role.serves else "somebody")
    with (
        open_channel(f"127.0.0.1:{port}", server=Role.PARTY1, tls=files) as channel,
        calls_to("party 1"),
    ):
        Hello(terms, handshake, Unheard()).to_party(
            peer_pb2_grpc.PeerStub(channel), lambda call: call
        )
    return handshake


def test_both_parties_learn_in_what_they_differ(tls_for):
    party1 = Party1(replace(TERMS, rounding="exact"))
    with served(tls_for, Role.PARTY1, party1.add) as port:
        party0 = asked(port, tls_for)
    assert party0.differences == ("party 1: rounding: one-unit here, exact there",)
    assert party1.handshake.differences == ("party 0: rounding: exact here, one-unit there",)
    for each in (party0, party1.handshake):
        with pytest.raises(TermsDiffer):
            each.require("digits")


def test_a_party_1_without_the_handshake_is_known_as_one(tls_for):
    with served(tls_for, Role.PARTY1, lambda server: None) as port:
        party0 = asked(port, tls_for)
    assert party0.differences == ("party 1: runs a version without the handshake",)


@pytest.mark.parametrize("role", [Role.PARTY1, Role.DEALER, Role.OWNER, Role.CLIENT, Role.ADMIN])
def test_nobody_but_party_0_says_hello_to_party_1(tls_for, role):
    party1 = Party1(TERMS)
    with served(tls_for, Role.PARTY1, party1.add) as port, pytest.raises(NotAllowed):
        asked(port, tls_for, role=role)
    assert party1.handshake.differences == ()


def test_a_hello_that_waits_for_party_1_can_be_given_up(tls_for):
    with (
        open_channel("127.0.0.1:1", server=Role.PARTY1, tls=tls_for(Role.PARTY0)) as channel,
        pytest.raises(Unreachable),
    ):
        Hello(TERMS, Handshake(), Unheard()).to_party(peer_pb2_grpc.PeerStub(channel), given_up)


def given_up(call: grpc.Future) -> grpc.Future:
    call.cancel()
    return call


# --- The dealer -----------------------------------------------------------------------------------


class OtherDealer(dealer_pb2_grpc.DealerServicer):
    def __init__(self, said: dealer_pb2.DealerTerms) -> None:
        self.said = said

    def Hello(self, request, context):
        return self.said


@contextmanager
def greeting(tls_for, port: int) -> Iterator[tuple[Handshake, "queue.SimpleQueue[bool]"]]:
    """Party 0 says hello to whatever dealer is at that port."""
    handshake, heard = Handshake(), queue.SimpleQueue()
    handshake.watch(heard.put)
    assert heard.get(timeout=SOON)
    address = f"127.0.0.1:{port}"
    with open_channel(address, server=Role.DEALER, tls=tls_for(Role.PARTY0)) as channel:
        greeter = DealerGreeter(channel, Hello(TERMS, handshake, Unheard()))
        greeter.start()
        try:
            yield handshake, heard
        finally:
            greeter.stop()


@contextmanager
def a_dealer(tls_for, servicer: object, *, port: int = 0) -> Iterator[int]:
    """Healthy, with that servicer; none for a dealer of before the handshake."""

    def add(server: grpc.Server) -> None:
        add_health(server).set_serving([""], True)
        if servicer is not None:
            dealer_pb2_grpc.add_DealerServicer_to_server(servicer, server)

    with served(tls_for, Role.DEALER, add, port=port) as bound:
        yield bound


def other(**changes: int) -> OtherDealer:
    return OtherDealer(to_wire(replace(versions.Versions(), **changes)))


def test_w68_hello_is_said_to_each_dealer_that_comes_and_another_version_is_named(tls_for):
    with a_dealer(tls_for, other()) as port:
        pass
    with greeting(tls_for, port) as (handshake, heard):
        for dealer, differs in (
            (other(mpc=MPC + 1), f"the dealer: mpc: {MPC} here, {MPC + 1} there"),
            (other(), None),
            (None, "the dealer: runs a version without the handshake"),
            (other(), None),
        ):
            with a_dealer(tls_for, dealer, port=port):
                assert heard.get(timeout=SOON) is (differs is None)
                assert handshake.differences == ((differs,) if differs else ())


def test_a_party_whose_dealer_is_away_is_not_held_up_by_its_greeter(tls_for):
    with greeting(tls_for, 1) as (handshake, _):
        handshake.require("digits")
    assert "dealer greeter" not in {thread.name for thread in threading.enumerate()}


def test_w66_a_dealer_that_is_told_to_end_is_not_held_up_by_a_greeter(tls_for):
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
    statuses = add_health(server)
    dealer_pb2_grpc.add_DealerServicer_to_server(other(), server)
    server.start()
    statuses.set_serving([""], True)
    with greeting(tls_for, port) as (_, heard):
        assert heard.get(timeout=SOON)
        statuses.end()
        assert server.stop(grace=10 * SOON).wait(SOON)


def test_the_dealer_names_a_party_of_another_version_and_says_so_in_its_health(tls_for):
    config = DealerConfig(listen="127.0.0.1:0", insecure_loopback=True)
    handshake = Handshake()
    served_now = []
    handshake.watch(served_now.append)
    servicer = DealerServicer(config, handshake)
    with a_dealer(tls_for, servicer) as port, ExitStack() as stack:
        files = tls_for(Role.PARTY1)
        channel = open_channel(f"127.0.0.1:{port}", server=Role.DEALER, tls=files)
        stub = dealer_pb2_grpc.DealerStub(stack.enter_context(closing(channel)))
        mine = versions.Versions()
        for mpc, differs in ((MPC - 1, True), (MPC, False)):
            said = stub.Hello(to_wire(replace(mine, mpc=mpc)), timeout=SOON)
            assert from_wire(said) == mine
            line = f"party 1: mpc: {MPC} here, {MPC - 1} there"
            assert handshake.differences == ((line,) if differs else ())
    assert served_now == [True, False, True]
