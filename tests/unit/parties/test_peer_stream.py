"""The workers' stream over real gRPC: what is hung up leaves nothing behind."""

import os
import threading
from collections.abc import Iterator

import grpc
import pytest

from parties.worker.peer_stream import Lobby, dial, hello
from privedge.errors import Unreachable
from privedge.identity.roles import Role
from privedge.mpc.dealing import SessionId
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server
from privedge.wire import mpc_pb2_grpc

PATIENCE_S = 20


class OnlyExchange(mpc_pb2_grpc.MpcServicer):
    def __init__(self, lobby: Lobby) -> None:
        self._lobby = lobby

    def Exchange(self, request_iterator, context):
        return self._lobby.exchange(request_iterator, context)

    def Prepare(self, request_iterator, context):
        raise NotImplementedError


@pytest.fixture
def lobby() -> Lobby:
    return Lobby()


@pytest.fixture
def channel(lobby, tls_for) -> Iterator[grpc.Channel]:
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.PARTY1), access=ACCESS, threads=4)
    mpc_pb2_grpc.add_MpcServicer_to_server(OnlyExchange(lobby), server)
    server.start()
    address = f"127.0.0.1:{port}"
    with open_channel(address, server=Role.PARTY1, tls=tls_for(Role.PARTY0)) as opened:
        yield opened
    server.stop(None).wait()


def test_a_session_that_is_given_up_leaves_no_thread(channel, lobby):
    deadline, before = Deadline.after(PATIENCE_S), set(threading.enumerate())
    stream, hang_up = dial(mpc_pb2_grpc.MpcStub(channel), deadline)
    run = SessionId(os.urandom(16), 0)
    stream.say(hello(run, b"same"))
    theirs, _ = lobby.take(run, deadline, threading.Event())
    assert theirs.hear() == hello(run, b"same")
    hang_up()
    with pytest.raises(Unreachable):
        theirs.exchange(memoryview(b"12345678"))
    # gRPC's own; those of the server are kept for the next call.
    ours = [t for t in set(threading.enumerate()) - before if not t.name.startswith("rpc")]
    for thread in ours:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in ours)
