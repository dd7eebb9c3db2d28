"""parties/serving/notify.py and who calls it, with a real socket in systemd's place."""

import socket
import threading

import grpc
import pytest

from parties.serving import ending, notify
from parties.serving.health import Health
from parties.serving.lifecycle import run_until_told
from parties.serving.readiness import Cause, Readiness


@pytest.fixture
def heard(tmp_path, monkeypatch):
    """What a supervisor gets."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(60)
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield lambda: listener.recv(4096).decode()


def test_a_message_is_a_line_for_each_value_and_no_value_adds_a_line(heard):
    notify.tell(READY="1", STATUS="disk: full\nWATCHDOG=trigger")
    assert heard() == "READY=1\nSTATUS=disk: full WATCHDOG=trigger"


def test_a_socket_in_the_abstract_namespace_works_too(monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # the kernel chooses a name
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + listener.getsockname()[1:].decode())
        notify.tell(READY="1")
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all"])
def test_without_a_supervisor_nothing_happens(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify.tell(READY="1")


def test_each_look_says_how_the_server_is_and_that_it_lives(heard):
    faults = {"peer": "party 1 is not connected", "disk": ""}
    causes = [Cause(name, lambda name=name: faults[name]) for name in faults]
    readiness = Readiness("party 0", "a.B", causes, Health())
    readiness.start()
    try:
        assert heard() == ("STATUS=does not serve. peer: party 1 is not connected\nWATCHDOG=1")
        faults["peer"] = ""
        readiness.look()
        assert heard() == "STATUS=serves.\nWATCHDOG=1"
    finally:
        readiness.stop()


def test_a_server_says_when_it_runs_and_when_it_ends(heard, monkeypatch):
    told = threading.Event()
    monkeypatch.setattr(ending, "wait_until_told", lambda: told.wait(60))
    server = grpc.server(None)
    thread = threading.Thread(target=run_until_told, args=(server, Health()))
    thread.start()
    assert heard() == "READY=1"
    told.set()
    assert heard() == "STOPPING=1"
    thread.join(60)
