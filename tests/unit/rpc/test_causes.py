"""Why a connection is not made: told apart at the client, and logged and counted at the server."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from parties.serving import handshake_log
from privedge.errors import Unreachable
from privedge.identity.roles import Role
from privedge.rpc.causes import CAUSES, cause_of
from privedge.rpc.channel import open_channel, wait_connected
from privedge.rpc.status import calls_to

REQUEST = health_pb2.HealthCheckRequest()


@contextmanager
def listening(files, trusted=None, *, plain=False):
    """A gRPC server with no check of ours."""
    with futures.ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        if plain:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            pair = (files.key.read_bytes(), files.certificate.read_bytes())
            credentials = grpc.ssl_server_credentials(
                [pair], (trusted or files.ca).read_bytes(), True
            )
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@contextmanager
def only_tls_1_2(files):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def accept():
        try:
            raw, _ = listener.accept()
            with raw:
                context.wrap_socket(raw, server_side=True)
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)


@contextmanager
def just(address):
    yield address


def said(address, files):
    """The line that a caller gets."""
    with (
        open_channel(address, server=Role.PARTY0, tls=files) as channel,
        pytest.raises(Unreachable) as refusal,
        calls_to("party 0"),
    ):
        health_pb2_grpc.HealthStub(channel).Check(REQUEST, timeout=20)
    return str(refusal.value)


def test_w10_nine_wrong_set_ups_are_nine_different_lines_at_the_client(tls_for, another_authority):
    good, admin, other = tls_for(Role.PARTY0), tls_for(Role.ADMIN, "a"), another_authority
    stranger = other(Role.ADMIN, "a")
    set_ups = {
        "refuses connections": (just("127.0.0.1:1"), admin),
        "host name is unknown": (just("no-such-host.invalid:1"), admin),
        "has expired": (listening(other(Role.PARTY0, days=0)), stranger),
        "an authority that is not trusted here": (listening(other(Role.DEALER)), admin),
        "party 0 and party 1 may be swapped": (listening(tls_for(Role.PARTY1)), admin),
        "may not be used for this": (listening(tls_for(Role.OWNER, "ana")), admin),
        "does not speak TLS": (listening(good, plain=True), admin),
        "ended the handshake": (listening(good, trusted=stranger.ca), admin),
        "has no TLS 1.3": (only_tls_1_2(good), admin),
    }
    lines = []
    for expected, (server, files) in set_ups.items():
        with server as address:
            lines.append(said(address, files))
        assert expected in lines[-1] and "\n" not in lines[-1]
    assert len({line.partition(": ")[2] for line in lines}) == 9


def test_w10_a_wait_for_a_connection_says_why_too(tls_for):
    with (
        listening(tls_for(Role.PARTY1)) as address,
        open_channel(address, server=Role.PARTY0, tls=tls_for(Role.ADMIN, "a")) as channel,
        pytest.raises(Unreachable, match="may be swapped"),
    ):
        wait_connected(channel, "party 0", within_s=0.01)


def test_w10_an_open_connection_that_ends_is_not_a_refused_handshake():
    assert cause_of("Socket closed") is None
    assert len({cause.reason for cause in CAUSES}) == len(CAUSES)


SERVER = """
import sys
from parties.serving.handshake_log import log_failed_handshakes
found = log_failed_handshakes()
from privedge import log
log.configure()
from pathlib import Path
from privedge.config import TlsFiles
from privedge.rpc.access import ACCESS
from privedge.rpc.server import build_server
from privedge.errors import NotAllowed
ca, certificate, key = map(Path, sys.argv[1:])
files = TlsFiles(ca=ca, certificate=certificate, key=key)
server, port = build_server("127.0.0.1:0", tls=files, access=ACCESS)
server.start()
print(port, flush=True)
sys.stdin.read()
import os
os.write(2, b"a last word of C\\n")
print(sorted(found.failed.items()), flush=True)
"""


def shake_hands(port, ca, pair=None):
    context = ssl.create_default_context(cafile=ca)
    if pair is not None:
        context.load_cert_chain(*pair)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(raw, server_hostname=Role.PARTY0.host) as wrapped,
    ):
        if not wrapped.recv(1):
            raise ssl.SSLError("closed")


def test_w10_a_server_logs_and_counts_each_kind_of_handshake_that_fails(tls_for, another_authority):
    files, stranger = tls_for(Role.PARTY0), another_authority(Role.ADMIN, "a")
    late = tls_for(Role.ADMIN, "late", days=0)
    environment = {name: value for name, value in os.environ.items() if "GRPC" not in name}
    command = [sys.executable, "-c", SERVER, files.ca, files.certificate, files.key]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    ) as process:  # fmt: skip
        try:
            port = int(process.stdout.readline())
            expected = {
                "showed no certificate": None,
                "of an authority that is not trusted here": (stranger.certificate, stranger.key),
                "has expired": (late.certificate, late.key),
            }
            for reason, pair in expected.items():
                shake_hands(port, files.ca, pair)
                line = process.stderr.readline().decode()
                assert "a TLS handshake failed: the other side" in line and reason in line
            shake_hands(port, files.ca)
            out, last = process.communicate(timeout=60)
        finally:
            process.kill()
    assert b"('showed no certificate', 2)" in out and out.count(b", 1)") == 2
    assert last == b"a last word of C\n"


def test_w10_lines_of_grpc_are_dropped_and_all_others_passed_on(tmp_path, caplog):
    line = b"I1129 21:47:45.282855    9998 x.cc:1] Handshake failed with error SSL_ERROR_SSL: %s\n"
    source, sink = os.pipe()
    with os.fdopen(sink, "wb") as writer:
        writer.write(line % b"certificate has expired" * 3 + b"not of gRPC\n" + line % b"?")
        writer.write(b"E1129 21:47:45.282855    9998 x.cc:1] No match found\nhalf")
    with (tmp_path / "out").open("wb") as out:
        found = handshake_log.HandshakeLog(out.fileno())
        found.read(source)
    assert (tmp_path / "out").read_bytes() == b"not of gRPC\nhalf"
    assert sorted(found.failed.values()) == [1, 3]
    assert len([each for each in caplog.messages if "a TLS handshake failed" in each]) == 2
    assert caplog.text.count("(1 so far)") == 2


def test_w10_who_wants_grpcs_own_log_gets_it(monkeypatch):
    monkeypatch.setenv("GRPC_VERBOSITY", "DEBUG")
    assert handshake_log.log_failed_handshakes() is None
    assert handshake_log.standard_error() is None
