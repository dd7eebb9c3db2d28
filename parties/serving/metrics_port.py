"""The port on which Prometheus reads metrics, over HTTP, apart from that of gRPC.

On a loopback address anyone on this machine may read. On any other address the port speaks TLS 1.3
with this server's certificate, and lets in the admins of this server and the readers of its
metrics, by the same rules as gRPC (rpc/callers.py). A connection carries one request, so a
certificate is looked at for each.

Few requests are answered at once. Connections that have not made a request take no place of those:
there may be more of them, and one too many ends the oldest. So nobody without a certificate keeps a
reader out, or takes many threads.
"""

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, SHUT_RDWR, socket
from socketserver import TCPServer
from typing import Any, cast

from cryptography import x509
from prometheus_client import CollectorRegistry, MetricsHandler

from privedge.config import TlsFiles
from privedge.errors import CertificateError, ConfigError, NotAllowed
from privedge.identity.roles import Identity, Role
from privedge.rpc import tls as transport
from privedge.rpc.access import CallerRules
from privedge.rpc.callers import Callers, Known
from privedge.rpc.loopback import is_loopback
from privedge.rpc.time_limit import rings_after

log = logging.getLogger(__name__)

_PATH = "/metrics"
# Requests that are answered at once, and how long a connection may last.
_AT_ONCE = 8
_LONGEST_S = 5.0
# Connections without a request, and how long it may take to come: handshake, certificate, one line.
_WAITING = 64
_LONGEST_WAIT_S = 2.0


class MetricsPort:
    """Takes the port at once. Use as a context manager: it answers during the block."""

    def __init__(
        self, listen: str, registry: CollectorRegistry, tls: TlsFiles | None, rules: CallerRules
    ) -> None:
        """Raises ConfigError if the port cannot be used, or needs TLS and there is none."""
        guard = None
        if not is_loopback(listen):
            if tls is None:
                raise ConfigError(f"{listen}: metrics need TLS on an address that is not loopback")
            guard = _Guard(tls, rules)
        host, _, port = listen.rpartition(":")
        try:
            self._server = _Server(host.strip("[]"), int(port), registry, guard)
        except OSError:
            raise ConfigError(
                f"{listen}: metrics cannot be served there; the port is in use or not this "
                "machine's"
            ) from None
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )

    def __enter__(self) -> "MetricsPort":
        self._thread.start()
        log.info("metrics: listening on port %d", self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Guard:
    """Who may read over TLS."""

    def __init__(self, tls: TlsFiles, rules: CallerRules) -> None:
        self._tls = tls
        self._callers = Callers(tls, rules)
        self._stamp = transport.stamp(tls)
        self._context = _context(tls)

    def over_tls(self, connection: socket) -> ssl.SSLSocket:
        """Return the connection over TLS. Raises OSError if the handshake fails."""
        self._take_over_renewed()
        return self._context.wrap_socket(connection, server_side=True)

    def require(self, connection: ssl.SSLSocket) -> None:
        """Raise NotAllowed unless the other side may read the metrics of this server."""
        shown = connection.getpeercert(binary_form=True) or b""
        certificate = x509.load_der_x509_certificate(shown)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        try:
            who = Identity.from_uris(names.get_values_for_type(x509.UniformResourceIdentifier))
        except CertificateError as error:
            raise NotAllowed(str(error)) from None
        if who.role is not Role.ADMIN:
            raise NotAllowed(f"{who.uri} is no admin")
        self._callers.require(Known(who, certificate))

    def _take_over_renewed(self) -> None:
        now = transport.stamp(self._tls)
        if now == self._stamp:
            return
        self._stamp = now
        try:
            self._context = _context(self._tls)
        except (CertificateError, OSError) as error:
            log.error("metrics: kept the old certificate: %s", error)


def _context(tls: TlsFiles) -> ssl.SSLContext:
    """Raises CertificateError, or OSError for files that change while they are read."""
    mine = transport.preflight(tls)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.certificate, tls.key)
    context.load_verify_locations(cadata=mine.trusted.decode("ascii"))
    return context


class _Waiting:
    """The connections that have not made a request yet, by the other side's address."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[Any, socket] = {}

    def add(self, address: Any, line: socket) -> None:
        """Let a connection wait. One too many ends the oldest, for a reader does not wait long."""
        with self._lock:
            self._lines[address] = line
            oldest = next(iter(self._lines)) if len(self._lines) > _WAITING else None
        if oldest is not None:
            self.end(oldest)

    def remove(self, address: Any) -> None:
        """Let a connection wait no longer. Does nothing if it does not wait."""
        with self._lock:
            self._lines.pop(address, None)

    def end(self, address: Any) -> None:
        """End a connection, if it still waits."""
        with self._lock:
            line = self._lines.pop(address, None)
        if line is not None:
            _end(line)


def _end(line: socket) -> None:
    with suppress(OSError):  # it has ended already
        line.shutdown(SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 2 * _WAITING

    def __init__(
        self, host: str, port: int, registry: CollectorRegistry, guard: _Guard | None
    ) -> None:
        self.address_family = AF_INET6 if ":" in host else AF_INET
        self._guard = guard
        self._waiting = _Waiting()
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((host, port), _Handler.factory(registry))

    def server_bind(self) -> None:
        """Take the port. Unlike http.server, do not ask the name server for this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Take a thread for a connection. Whatever is raised, the caller closes the connection."""
        # Another descriptor of the same connection: TLS takes over the first one.
        line = request.dup()
        self._waiting.add(client_address, line)
        try:
            started = threading.Thread(
                target=self._process, args=(request, client_address, line), daemon=True
            )
            started.start()
        except BaseException:
            self._waiting.remove(client_address)
            line.close()
            raise

    def _process(self, request: Any, client_address: Any, line: socket) -> None:
        """Serve one connection, in its own thread."""
        try:
            with (
                line,
                rings_after(_LONGEST_WAIT_S, partial(self._waiting.end, client_address)),
                rings_after(_LONGEST_S, partial(_end, line)),
            ):
                self.process_request_thread(request, client_address)
        finally:
            self._waiting.remove(client_address)

    @contextmanager
    def place(self, client_address: Any) -> Iterator[bool]:
        """The request has come. Gives whether there is a place to answer it during the block."""
        self._waiting.remove(client_address)
        free = self._places.acquire(blocking=False)
        try:
            yield free
        finally:
            if free:
                self._places.release()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Let the other side in, and answer it."""
        if self._guard is None:
            super().finish_request(request, client_address)
            return
        with self._guard.over_tls(request) as connection:
            try:
                self._guard.require(connection)
            except NotAllowed as error:
                log.warning("metrics: refused: %s", error)
                _Refused(connection, client_address, self)
            else:
                super().finish_request(connection, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that failed, or showed no certificate, is not worth a line."""


class _Handler(MetricsHandler):
    def do_GET(self) -> None:
        """Answer for one path only."""
        if self.path.partition("?")[0] != _PATH:
            self.send_error(404)
            return
        with cast(_Server, self.server).place(self.client_address) as free:
            if free:
                super().do_GET()
            else:
                self.send_error(503)


class _Refused(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Say so: a connection that just ended would look like a fault of the network."""
        self.send_error(403)

    def log_message(self, *_: object) -> None:
        """The refusal is in the log already."""
