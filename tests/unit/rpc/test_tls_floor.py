"""TLS 1.3 or nothing, at both ends, against Python's own ssl; and who gets a connection at all."""

import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from privedge.config import TlsFiles
from privedge.errors import CertificateError, Unreachable
from privedge.identity.certificates import issue
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.server import build_server
from privedge.rpc.status import calls_to
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc as party_grpc


class Party(party_grpc.PartyServicer):
    def __init__(self):
        self.calls = 0

    def Status(self, request, context):
        self.calls += 1
        return pb.StatusResponse(party=0)


@contextmanager
def serving(tls: TlsFiles) -> Iterator[tuple[Party, int]]:
    server, port = build_server("127.0.0.1:0", tls=tls, access=ACCESS)
    party = Party()
    party_grpc.add_PartyServicer_to_server(party, server)
    server.start()
    try:
        yield party, port
    finally:
        server.stop(None).wait()


def ask(port, tls, server=Role.PARTY0):
    with open_channel(f"127.0.0.1:{port}", server=server, tls=tls) as channel:
        stub = party_grpc.PartyStub(channel)
        with calls_to("party 0"):
            return stub.Status(pb.StatusRequest(), timeout=20)


def shake_hands(port, tls, version, *, present=True):
    """The TLS version and certificate that a server on `port` grants to Python's own client."""
    context = ssl.create_default_context(cafile=tls.ca)
    if present:
        context.load_cert_chain(tls.certificate, tls.key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
        context.wrap_socket(raw, server_hostname=Role.PARTY0.host) as wrapped,
    ):
        # In TLS 1.3 a client learns only from the first bytes whether its certificate was taken.
        if not wrapped.recv(1):
            raise ssl.SSLError("closed")
        return wrapped.version(), wrapped.getpeercert(binary_form=True)


def test_a_client_with_a_good_certificate_gets_tls_1_3_but_not_1_2(tls_for):
    admin = tls_for(Role.ADMIN, "a")
    with serving(tls_for(Role.PARTY0)) as (_, port):
        version, _ = shake_hands(port, admin, ssl.TLSVersion.TLSv1_3)
        assert version == "TLSv1.3"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(port, admin, ssl.TLSVersion.TLSv1_2)
        assert ask(port, admin).party == 0


def test_a_server_that_has_only_tls_1_2_is_refused(tls_for):
    files = tls_for(Role.PARTY0)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    outcomes = []

    def accept_one(listener):
        raw, _ = listener.accept()
        with raw:
            try:
                context.wrap_socket(raw, server_side=True).close()
                outcomes.append("accepted")
            except OSError as error:  # ssl.SSLError is one
                outcomes.append(str(error))

    for version, expected in ((ssl.TLSVersion.TLSv1_3, True), (ssl.TLSVersion.TLSv1_2, False)):
        outcomes.clear()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.maximum_version = version
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=accept_one, args=[listener])
            thread.start()
            with pytest.raises(Unreachable):
                ask(listener.getsockname()[1], tls_for(Role.ADMIN, "a"))
            thread.join(20)
        assert len(outcomes) == 1
        assert (outcomes == ["accepted"]) is expected, outcomes


def test_c01_c02_nobody_gets_in_without_a_certificate_of_our_authority(tls_for, another_authority):
    with serving(tls_for(Role.PARTY0)) as (party, port):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(port, tls_for(Role.ADMIN, "a"), ssl.TLSVersion.TLSv1_3, present=False)
        stranger = another_authority(Role.ADMIN, "a")
        mixed = stranger.model_copy(update={"ca": tls_for(Role.ADMIN, "a").ca})
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(port, mixed, ssl.TLSVersion.TLSv1_3)
        with pytest.raises(Unreachable, match="of an authority that is not trusted here"):
            ask(port, stranger)
        assert party.calls == 0


def test_c03_an_expired_certificate_is_refused_by_the_server_and_named_on_our_own_side(tls_for):
    expired = tls_for(Role.ADMIN, "late", days=0)
    with serving(tls_for(Role.PARTY0)) as (party, port):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shake_hands(port, expired, ssl.TLSVersion.TLSv1_3)
        with pytest.raises(CertificateError, match=r"admin-late\.crt: certificate expired on"):
            ask(port, expired)
        assert party.calls == 0


@pytest.mark.parametrize("impostor", [Role.PARTY1, Role.DEALER])
def test_c04_no_server_can_stand_in_for_another(tls_for, impostor):
    with serving(tls_for(impostor)) as (party, port):
        with pytest.raises(Unreachable):
            ask(port, tls_for(Role.ADMIN, "a"), server=Role.PARTY0)
        assert party.calls == 0


def test_a_certificate_that_may_only_dial_cannot_serve(tls_for):
    with serving(tls_for(Role.OWNER, "ana")) as (party, port):
        with pytest.raises(Unreachable):
            ask(port, tls_for(Role.ADMIN, "a"))
        assert party.calls == 0


def test_plain_text_on_a_tls_port_is_refused(tls_for):
    with serving(tls_for(Role.PARTY0)) as (party, port):
        claim = Identity(Role.ADMIN, "a")
        with open_channel(
            f"127.0.0.1:{port}", server=Role.PARTY0, tls=None, claim=claim
        ) as channel:
            with pytest.raises(grpc.RpcError) as refusal:
                party_grpc.PartyStub(channel).Status(pb.StatusRequest(), timeout=20)
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        assert party.calls == 0


def test_c07_a_certificate_renewed_on_disk_is_used_at_the_next_handshake(
    tls_for, another_authority, tmp_path, caplog
):
    folder = another_authority(Role.PARTY0).ca.parent
    files, admin = another_authority(Role.PARTY0), another_authority(Role.ADMIN, "a")
    with serving(files) as (_, port):
        _, before = shake_hands(port, admin, ssl.TLSVersion.TLSv1_3)
        with open_channel(f"127.0.0.1:{port}", server=Role.PARTY0, tls=admin) as channel:
            stub = party_grpc.PartyStub(channel)
            stub.Status(pb.StatusRequest(), timeout=20)

            files.certificate.write_text("half a file")
            assert shake_hands(port, admin, ssl.TLSVersion.TLSv1_3)[1] == before
            assert "kept the old certificate" in caplog.text

            files.certificate.unlink()
            files.key.unlink()
            issue(folder, Identity(Role.PARTY0, "party0"))
            assert shake_hands(port, admin, ssl.TLSVersion.TLSv1_3)[1] != before
            # The connection that was open stays.
            stub.Status(pb.StatusRequest(), timeout=20)


def run_python(code):
    environment = {key: value for key, value in os.environ.items() if "GRPC" not in key}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )


def test_when_grpc_was_there_first_credentials_are_refused_instead_of_weaker(tls_for):
    files = tls_for(Role.ADMIN, "a")
    code = (
        "import grpc\n"
        "from pathlib import Path\n"
        "from privedge.config import TlsFiles\n"
        "from privedge.identity.roles import Role\n"
        "from privedge.rpc import tls\n"
        f"files = TlsFiles(ca=Path({str(files.ca)!r}), certificate=Path("
        f"{str(files.certificate)!r}), key=Path({str(files.key)!r}))\n"
        "tls.client_credentials(files, Role.PARTY0)\n"
    )
    late = run_python(code)
    assert "ConfigError: grpc was imported before privedge," in late.stderr
    early = run_python("import privedge.rpc\n" + code)
    assert early.returncode == 0, early.stderr
