"""privedge/rpc/about.py over real gRPC: what a server says of itself, to whom, and what follows."""

import socket
from contextlib import closing, contextmanager

import pytest

from privedge import __version__
from privedge.errors import NotReady, Unreachable
from privedge.identity.roles import Identity, Role
from privedge.rpc.about import MOST_SKEW_S, AboutServicer, add_about, ask
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.server import build_server
from privedge.rpc.versions import MPC, WIRE, Versions
from privedge.wire import about_pb2_grpc

CLOCK_MS = {"ahead of": 3_600_000, "behind": -3_600_000}


class Changed(AboutServicer):
    """Of another release, or with another clock."""

    def __init__(self, *, ahead_ms=0, **versions):
        self._ahead_ms, self._versions = ahead_ms, versions

    def Read(self, request, context):
        said = super().Read(request, context)
        said.clock_ms += self._ahead_ms
        for name, value in self._versions.items():
            setattr(said, name, value)
        return said


@contextmanager
def served(tls_for, servicer=None):
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
    if servicer is not None:
        about_pb2_grpc.add_AboutServicer_to_server(servicer, server)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def asked(tls_for, address, role=Role.PARTY0, within_s=30):
    who = Identity(role, role.value if role.serves else "somebody")
    channel = open_channel(address, server=Role.DEALER, tls=tls_for(who.role, who.name))
    with closing(channel):
        return ask(channel, "the dealer", within_s=within_s)


@pytest.mark.parametrize("role", list(Role))
def test_every_role_is_told_versions_and_the_time(tls_for, role):
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.DEALER), access=ACCESS)
    add_about(server)
    server.start()
    try:
        found = asked(tls_for, f"127.0.0.1:{port}", role)
    finally:
        server.stop(None).wait()
    assert found.versions == Versions(__version__, WIRE, MPC)
    assert abs(found.skew_s) < MOST_SKEW_S
    assert found.faults() == ()


def test_w68_another_version_is_a_fault_and_another_release_is_none(tls_for):
    with served(tls_for, Changed(release="99.0", wire=99, mpc=98)) as address:
        found = asked(tls_for, address)
    assert found.faults() == (f"wire: {WIRE} here, 99 there", f"mpc: {MPC} here, 98 there")
    assert found.faults(computes=False) == (f"wire: {WIRE} here, 99 there",)


@pytest.mark.parametrize("side", CLOCK_MS)
def test_c58_a_clock_that_differs_by_more_than_a_minute_is_a_fault(tls_for, side):
    with served(tls_for, Changed(ahead_ms=CLOCK_MS[side])) as address:
        (line,) = asked(tls_for, address).faults()
    seconds, rest = line.removeprefix("clock: ").split(" s ")
    assert rest == f"{side} this machine's; synchronise both"
    assert 3_500 < int(seconds) <= 3_600  # the call itself may take some of it


def test_c58_a_clock_that_differs_by_less_is_none(tls_for):
    with served(tls_for, Changed(ahead_ms=20_000)) as address:
        assert asked(tls_for, address).faults() == ()


def test_what_a_server_says_is_shown_only_if_it_is_a_word(tls_for):
    with served(tls_for, Changed(release="\x1b[2J")) as address:
        assert asked(tls_for, address).versions.release == "unreadable"


def test_a_server_of_an_older_release_is_told_apart(tls_for):
    with served(tls_for) as address, pytest.raises(NotReady, match="check both versions"):
        asked(tls_for, address)


def test_a_server_that_accepts_and_says_nothing_is_given_up(tls_for):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match="has not answered for 1 s; check the address"):
            asked(tls_for, address, within_s=1)
