"""parties/serving/metrics_port.py: who may read metrics, and that nobody can hold it up."""

import contextlib
import socket
import ssl
import threading

import pytest
from prometheus_client import CollectorRegistry, Gauge

from parties.config.dealer import DealerConfig
from parties.serving.metrics_port import MetricsPort
from privedge.errors import ConfigError, NotAllowed
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import CallerRules
from privedge.rpc.callers import Callers, Known

RULES = CallerRules(frozenset({"kim"}))
SOCKET = socket.socket
REQUEST = b"GET /metrics HTTP/1.0\r\n\r\n"


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Gauge("privedge_answer", "For this test.", registry=registry).set(42)
    return registry


def asked(port, files=None, ca=None, request=REQUEST):
    """All that the port answers to one request; over TLS with `files`, or without a certificate."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        if ca is None:
            return read_out(raw, request)
        context = ssl.create_default_context(cafile=ca)
        if files is not None:
            context.load_cert_chain(files.certificate, files.key)
        with context.wrap_socket(raw, server_hostname=Role.PARTY0.host) as wrapped:
            assert wrapped.version() == "TLSv1.3"
            return read_out(wrapped, request)


def read_out(connection, request):
    connection.sendall(request)
    return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def test_anyone_on_this_machine_reads_on_a_loopback_address(registry):
    with MetricsPort("127.0.0.1:0", registry, None, RULES) as port:
        assert "privedge_answer 42.0" in asked(port.port)
        assert " 404 " in asked(port.port, request=b"GET /other HTTP/1.0\r\n\r\n")
        assert " 501 " in asked(port.port, request=b"DELETE /metrics HTTP/1.0\r\n\r\n")


def test_any_other_address_needs_tls(registry):
    with pytest.raises(ConfigError, match="need TLS"):
        MetricsPort("0.0.0.0:0", registry, None, RULES)


def test_a_port_in_use_is_one_line(registry):
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="in use"),
    ):
        MetricsPort(f"127.0.0.1:{taken.getsockname()[1]}", registry, None, RULES)


def test_over_tls_only_the_admins_of_this_server_read(registry, tls_for, another_authority, caplog):
    files = tls_for(Role.PARTY0)
    with MetricsPort("0.0.0.0:0", registry, files, RULES) as port:
        assert "privedge_answer 42.0" in asked(port.port, tls_for(Role.ADMIN, "kim"), files.ca)
        for role, name in ((Role.ADMIN, "lee"), (Role.CLIENT, "kim"), (Role.PARTY1, "party1")):
            said = asked(port.port, tls_for(role, name), files.ca)
            assert " 403 " in said and "privedge" not in said
        stranger = another_authority(Role.ADMIN, "kim")
        for other in (stranger, None):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                asked(port.port, other, files.ca)
        assert "privedge_answer 42.0" in asked(port.port, tls_for(Role.ADMIN, "kim"), files.ca)
    refused = [line for line in caplog.messages if "metrics: refused" in line]
    assert len(refused) == 3 and "admin/lee is no admin of this server" in refused[0]


def test_c62_a_reader_reads_metrics_and_may_call_nothing(registry, tls_for):
    config = DealerConfig(
        listen="127.0.0.1:0",
        tls=tls_for(Role.DEALER),
        admins=["kim"],
        metrics={"listen": "0.0.0.0:0", "readers": ["prometheus"]},
    )
    rules, files = config.metrics_rules, tls_for(Role.PARTY0)
    with MetricsPort(config.metrics.listen, registry, files, rules) as port:
        for name in ("kim", "prometheus"):
            assert "privedge_answer 42.0" in asked(port.port, tls_for(Role.ADMIN, name), files.ca)
        for role, name in ((Role.ADMIN, "lee"), (Role.CLIENT, "prometheus")):
            assert " 403 " in asked(port.port, tls_for(role, name), files.ca)
    callers = Callers(config.tls, config.caller_rules)
    with pytest.raises(NotAllowed, match="no admin of this server"):
        callers.require(Known(Identity(Role.ADMIN, "prometheus"), None))


def test_a_denied_admin_reads_no_longer(registry, tls_for, tmp_path):
    files, kim = tls_for(Role.PARTY0), tls_for(Role.ADMIN, "kim")
    denied = tmp_path / "denied"
    denied.write_text("")
    rules = CallerRules(frozenset({"kim"}), denied)
    with MetricsPort("0.0.0.0:0", registry, files, rules) as port:
        assert "privedge_answer 42.0" in asked(port.port, kim, files.ca)
        denied.write_text("spiffe://privedge/admin/kim\n")
        assert " 403 " in asked(port.port, kim, files.ca)


def test_w14_silent_connections_take_few_places_and_lose_them(registry):
    with MetricsPort("127.0.0.1:0", registry, None, RULES) as port:
        silent = [socket.create_connection(("127.0.0.1", port.port), timeout=60) for _ in range(40)]
        try:
            for connection in silent:
                assert not received(connection)
        finally:
            for connection in silent:
                connection.close()
        assert "privedge_answer 42.0" in asked(port.port)


@pytest.mark.parametrize("over_tls", [False, True])
def test_w14_connections_without_a_request_do_not_keep_a_reader_out(registry, tls_for, over_tls):
    kim, files = tls_for(Role.ADMIN, "kim"), tls_for(Role.PARTY0)
    listen, tls = ("0.0.0.0:0", files) if over_tls else ("127.0.0.1:0", None)
    with MetricsPort(listen, registry, tls, RULES) as port, contextlib.ExitStack() as silent:
        for _ in range(100):
            silent.enter_context(socket.create_connection(("127.0.0.1", port.port), timeout=60))
        answer = asked(port.port, kim, kim.ca) if over_tls else asked(port.port)
        assert "privedge_answer 42.0" in answer


def test_w14_others_with_a_certificate_do_not_keep_a_reader_out(registry, tls_for):
    kim, mallory = tls_for(Role.ADMIN, "kim"), tls_for(Role.CLIENT, "mallory")
    context = ssl.create_default_context(cafile=mallory.ca)
    context.load_cert_chain(mallory.certificate, mallory.key)
    with (
        MetricsPort("0.0.0.0:0", registry, tls_for(Role.PARTY0), RULES) as port,
        contextlib.ExitStack() as silent,
    ):
        for _ in range(20):
            raw = socket.create_connection(("127.0.0.1", port.port), timeout=60)
            silent.enter_context(context.wrap_socket(raw, server_hostname=Role.PARTY0.host))
        assert "privedge_answer 42.0" in asked(port.port, kim, kim.ca)


@pytest.mark.parametrize("of_what", [RuntimeError("can't start new thread"), OSError("EMFILE")])
def test_w14_a_shortage_of_threads_or_descriptors_passes(registry, monkeypatch, of_what):
    def fail(*_):
        raise of_what

    where = (threading.Thread, "start") if isinstance(of_what, RuntimeError) else (SOCKET, "dup")
    with MetricsPort("127.0.0.1:0", registry, None, RULES) as port:
        with monkeypatch.context() as shortage:
            shortage.setattr(*where, fail)
            for _ in range(100):
                with socket.create_connection(("127.0.0.1", port.port), timeout=60) as refused:
                    assert not received(refused)
        assert "privedge_answer 42.0" in asked(port.port)


def test_the_name_server_is_not_asked(registry, monkeypatch):
    def fail(*_):
        raise AssertionError("asked for a name")

    monkeypatch.setattr(socket, "getfqdn", fail)
    with MetricsPort("127.0.0.1:0", registry, None, RULES) as port:
        assert "privedge_answer 42.0" in asked(port.port)


def received(connection):
    """What comes until the other side ends the connection."""
    try:
        return connection.recv(1)
    except ConnectionError:
        return b""
