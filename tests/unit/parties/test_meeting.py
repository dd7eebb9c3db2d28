"""The workers' stream over real gRPC: a stream that is closed leaves nothing behind."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from parties.mpc.dealing import SessionId
from parties.wire import mpc_pb2_grpc
from parties.worker.cancellation import Cancellation
from parties.worker.meeting import Acceptor, Agreement, Dialer, Greeting, Meeting, Met, PeerStream
from parties.worker.preprocessing.pool import BundleChoice, Pool
from parties.worker.task import Kind
from privedge.errors import Unreachable
from privedge.identity.roles import Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server

PATIENCE_S = 20


class OnlyExchange(mpc_pb2_grpc.MpcServicer):
    def __init__(self, acceptor: Acceptor) -> None:
        self._acceptor = acceptor

    def Exchange(self, request_iterator, context):
        return self._acceptor.exchange(request_iterator, context)

    def Prepare(self, request_iterator, context):
        raise NotImplementedError


@pytest.fixture
def acceptor() -> Acceptor:
    return Acceptor()


@pytest.fixture
def channel(acceptor, tls_for) -> Iterator[grpc.Channel]:
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.PARTY1), access=ACCESS)
    mpc_pb2_grpc.add_MpcServicer_to_server(OnlyExchange(acceptor), server)
    server.start()
    address = f"127.0.0.1:{port}"
    with open_channel(address, server=Role.PARTY1, tls=tls_for(Role.PARTY0)) as opened:
        yield opened
    server.stop(None).wait()


Sides = tuple[PeerStream, PeerStream]
# Nonces of all sessions of this module.
SEEN: set[bytes] = set()


def met(dialer: Dialer, acceptor: Acceptor, run: SessionId) -> Sides:
    """A session's two sides, which have greeted each other."""

    def opened(meeting: Meeting) -> Met:
        choice = BundleChoice(Pool(1), Kind("snapshot", (1, 4)), usable=False)
        agreement = Agreement(b"same", b"", choice)
        return meeting.open(run, agreement, Deadline.after(PATIENCE_S), Cancellation())

    with ThreadPoolExecutor(2) as threads:
        mine, theirs = threads.map(opened, (dialer, acceptor))
    assert mine.theirs == theirs.mine and theirs.theirs == mine.mine
    nonces = [side.mine.release_nonce for side in (mine, theirs)]
    for side, nonce in zip((mine, theirs), nonces, strict=True):
        assert side.mine == Greeting(run.session, b"same", release_nonce=nonce)
    # Each worker draws its own, anew for every session.
    assert [len(nonce) for nonce in nonces] == [32, 32] and len({*nonces, *SEEN}) == len(SEEN) + 2
    SEEN.update(nonces)
    return mine.stream, theirs.stream


def new_run() -> SessionId:
    return SessionId(os.urandom(16))


def swapped(sides: Sides) -> None:
    words = [bytes([party]) * 8 for party in (0, 1)]
    with ThreadPoolExecutor(2) as threads:
        received = list(threads.map(lambda at: sides[at].exchange(memoryview(words[at])), (0, 1)))
    assert received == [words[1], words[0]]


def test_sessions_that_go_well_share_one_call_and_one_that_failed_does_not(channel, acceptor):
    calls = Calls(mpc_pb2_grpc.MpcStub(channel))
    dialer = Dialer(calls)
    for _ in range(3):
        sides = met(dialer, acceptor, new_run())
        swapped(sides)
        for side in sides:
            side.release()
    assert calls.opened == 1
    sides[0].cut_off()
    swapped(met(dialer, acceptor, new_run()))
    assert calls.opened == 2


def test_a_kept_call_that_party_1_has_ended_is_replaced(channel, acceptor):
    dialer = Dialer(mpc_pb2_grpc.MpcStub(channel))
    mine, theirs = met(dialer, acceptor, new_run())
    mine.release()
    theirs.cut_off()
    swapped(met(dialer, acceptor, new_run()))


def opened_by(meeting: Meeting, run: SessionId) -> Met:
    choice = BundleChoice(Pool(1), Kind("snapshot", (1, 4)), usable=False)
    agreement = Agreement(b"same", b"", choice)
    # Without a deadline that could end it: only the other worker can.
    return meeting.open(run, agreement, Deadline.after(3600), Cancellation())


@pytest.mark.parametrize("late", [False, True], ids=["waiting", "late"])
@pytest.mark.parametrize("giver", [0, 1])
def test_w21_a_run_that_one_worker_gives_up_ends_at_the_other(channel, acceptor, giver, late):
    dialer = Dialer(mpc_pb2_grpc.MpcStub(channel))
    both: list[Meeting] = [dialer, acceptor]
    run = new_run()
    with ThreadPoolExecutor(1) as threads:
        if late:
            both[giver].give_up(run)
        waiting = threads.submit(opened_by, both[1 - giver], run)
        if not late:
            both[giver].give_up(run)
        assert isinstance(waiting.exception(PATIENCE_S), Unreachable)
    swapped(met(dialer, acceptor, new_run()))


def test_w21_a_kept_call_survives_that_party_0_gives_up_another_run(channel, acceptor):
    calls = Calls(mpc_pb2_grpc.MpcStub(channel))
    dialer = Dialer(calls)
    for side in met(dialer, acceptor, new_run()):
        side.release()
    dialer.give_up(new_run())
    swapped(met(dialer, acceptor, new_run()))
    assert calls.opened == 2


class Calls:
    """A stub that counts."""

    def __init__(self, stub: mpc_pb2_grpc.MpcStub) -> None:
        self.opened = 0
        self._stub = stub

    def Exchange(self, frames, **options):
        self.opened += 1
        return self._stub.Exchange(frames, **options)


def test_a_session_that_is_given_up_leaves_no_thread(channel, acceptor):
    before = set(threading.enumerate())
    mine, theirs = met(Dialer(mpc_pb2_grpc.MpcStub(channel)), acceptor, new_run())
    mine.cut_off()
    with pytest.raises(Unreachable):
        theirs.exchange(memoryview(b"12345678"))
    # gRPC's own; those of the server are kept for the next call.
    ours = [t for t in set(threading.enumerate()) - before if not t.name.startswith("rpc")]
    for thread in ours:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in ours)
