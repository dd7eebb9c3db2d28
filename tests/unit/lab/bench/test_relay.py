"""The delaying relay, with real sockets: nothing comes early, nothing is lost or out of order."""

import os
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from privedge_lab.bench.relay import Relay

DELAY_S = 0.03


@pytest.fixture
def ends():
    """Both ends of a connection through a relay."""
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(DELAY_S))
        door = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        caller = dial(stack, relay.to(f"127.0.0.1:{door.getsockname()[1]}"))
        called = stack.enter_context(door.accept()[0])
        called.settimeout(20)
        yield caller, called


def dial(stack, address):
    host, _, port = address.rpartition(":")
    caller = stack.enter_context(socket.create_connection((host, int(port)), 20))
    return caller


def everything(source):
    return b"".join(iter(lambda: source.recv(1 << 20), b""))


def test_both_directions_are_delayed(ends):
    caller, called = ends
    started = time.monotonic()
    caller.sendall(b"ask")
    assert called.recv(10) == b"ask"
    half = time.monotonic()
    called.sendall(b"told")
    assert caller.recv(10) == b"told"
    assert half - started >= DELAY_S and time.monotonic() - half >= DELAY_S


def test_all_bytes_of_both_directions_arrive_in_order(ends):
    caller, called = ends
    said = {caller: os.urandom(5_000_000), called: os.urandom(3_000_000)}

    def speak(end):
        end.sendall(said[end])
        end.shutdown(socket.SHUT_WR)

    speakers = [threading.Thread(target=speak, args=(end,)) for end in ends]
    heard = {}
    listeners = [
        threading.Thread(target=lambda end=end: heard.update({end: everything(end)}))
        for end in ends
    ]
    for thread in (*speakers, *listeners):
        thread.start()
    for thread in (*speakers, *listeners):
        thread.join(20)
    assert heard == {caller: said[called], called: said[caller]}


def test_an_end_that_closes_ends_the_other_one(ends):
    caller, called = ends
    called.close()
    assert everything(caller) == b""


def test_a_server_may_start_after_the_relay_that_leads_to_it():
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(0))
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            target = reserved.getsockname()
            address = relay.to(f"127.0.0.1:{target[1]}")
            # Bound, but nobody listens: the relay closes what it cannot pass on.
            assert everything(dial(stack, address)) == b""
            reserved.listen()
            caller = dial(stack, address)
            called = stack.enter_context(reserved.accept()[0])
            caller.sendall(b"now")
            assert called.recv(10) == b"now"
