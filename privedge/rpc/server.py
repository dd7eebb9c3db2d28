"""A gRPC server that refuses calls by default; rpc/gate.py says what each call passes."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import grpc

from privedge.config import TlsFiles
from privedge.errors import ConfigError
from privedge.identity.roles import Role
from privedge.rpc import loopback
from privedge.rpc import tls as transport
from privedge.rpc.access import PATIENT, CallerRules
from privedge.rpc.admission import Quota
from privedge.rpc.callers import Callers, caller
from privedge.rpc.channel import MAX_MESSAGE_BYTES, message_limits
from privedge.rpc.gate import Ended, Gate, InPlace
from privedge.rpc.witness import Witness

__all__ = ["MayLeave", "build_server", "caller", "cancel_with"]

_OPTIONS = [
    # Without this, a second server on the same port would start silently and get half the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.max_frame_size", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 4096),
    ("grpc.absolute_max_metadata_size", 8192),
    # More calls on one connection wait at the caller. A second connection may have as many.
    ("grpc.max_concurrent_streams", 100),
    # A connection holds a descriptor before it has shown a certificate, and while nobody calls.
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.max_connection_idle_ms", 600_000),
    # Then both sides look at one another's certificates again; running calls end as they would.
    ("grpc.max_connection_age_ms", 4 * 3_600_000),
    # Callers ping every 10 s (rpc/channel.py); a caller that pings much faster is disconnected.
    ("grpc.http2.min_ping_interval_without_data_ms", 8_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 8_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


def build_server(  # noqa: PLR0913 - what a server asks of callers, and whom it tells
    listen: str,
    *,
    tls: TlsFiles | None,
    access: Mapping[str, frozenset[Role]],
    quotas: Mapping[str, Quota] | None = None,
    rules: CallerRules | None = None,
    witness: Witness | None = None,
    ended: Ended = lambda *_: None,
) -> tuple[grpc.Server, int]:
    """Return a server that is not started yet, and the port that it is bound to.

    A call takes a thread only if its caller may make it and there is a place for it; otherwise it
    is refused at once. `quotas` are the places of single methods (rpc/admission.py), `rules` what
    this server asks of callers beside TLS and role. `witness` is told what is refused, `ended` how
    each call ended. If `tls` is None, `listen` must be a loopback address. Raises ConfigError if it
    is not, or if the port is in use. Raises CertificateError.
    """
    if tls is None:
        loopback.require(listen)
    credentials = None if tls is None else transport.server_credentials(tls)
    witness = witness or Witness()
    callers = Callers(tls, rules or CallerRules(), witness=witness)
    server = grpc.server(
        InPlace(),
        interceptors=[Gate(access, PATIENT, quotas or {}, callers, witness, ended)],
        options=[*_OPTIONS, *message_limits(listen)],
    )
    try:
        if credentials is None:
            return server, server.add_insecure_port(listen)
        return server, server.add_secure_port(listen, credentials)
    except RuntimeError:
        raise ConfigError(
            f"{listen}: cannot listen there; the port is in use or not this machine's"
        ) from None


class MayLeave(Protocol):
    """A caller on whose behalf other calls are made: a servicer's context, or something like it."""

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call `callback` when this caller leaves. If it has left, return False and do not call."""
        ...


def cancel_with(caller: MayLeave, call: Any) -> None:
    """Cancel `call`, made on behalf of `caller`, when that caller leaves."""

    def cancel() -> None:
        call.cancel()

    if not caller.add_callback(cancel):  # the caller has left already
        cancel()
