"""A gRPC server that refuses calls by default, and never tells a peer more than a fixed text.

Every call passes the gate, in this order:

    1. the connection is TLS 1.3 with a certificate of our authority, or insecure loopback
    2. the caller's role is in the access table for this method
    3. the servicer runs; any exception becomes a status of rpc/status.py

Logs say who called which method and how the call ended. The message of one of our own errors is
logged; any other exception is logged only by type and place.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from typing import Any, Protocol

import grpc

from privedge.config import TlsFiles
from privedge.errors import CertificateError, ConfigError, NotAllowed, PrivEdgeError, ShareError
from privedge.identity.roles import Identity, Role
from privedge.rpc import loopback
from privedge.rpc import tls as transport
from privedge.rpc.channel import MAX_MESSAGE_BYTES, NAME_KEY, ROLE_KEY, message_limits
from privedge.rpc.status import ERROR_ID, status_of

log = logging.getLogger(__name__)

_OPTIONS = [
    # Without this, a second server on the same port would start silently and get half the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.http2.max_frame_size", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 4096),
    ("grpc.absolute_max_metadata_size", 8192),
    ("grpc.max_concurrent_streams", 128),
    # Callers ping every 10 s (rpc/channel.py); a caller that pings much faster is disconnected.
    ("grpc.http2.min_ping_interval_without_data_ms", 8_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 8_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


def build_server(
    listen: str,
    *,
    tls: TlsFiles | None,
    access: Mapping[str, frozenset[Role]],
    threads: int,
    max_calls: int | None = None,
) -> tuple[grpc.Server, int]:
    """Return a server that is not started yet, and the port that it is bound to.

    A running call holds one of `threads`. If `max_calls` are running, new calls are refused with
    RESOURCE_EXHAUSTED; the default is `threads`, so that no call waits in a queue. If `tls` is
    None, `listen` must be a loopback address. Raises ConfigError if it is not, or if the port is in
    use. Raises CertificateError.
    """
    if tls is None:
        loopback.require(listen)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=threads, thread_name_prefix="rpc"),
        interceptors=[_Gate(access)],
        options=[*_OPTIONS, *message_limits(listen)],
        maximum_concurrent_rpcs=max_calls or threads,
    )
    try:
        if tls is None:
            return server, server.add_insecure_port(listen)
        return server, server.add_secure_port(listen, transport.server_credentials(tls))
    except RuntimeError:
        raise ConfigError(
            f"{listen}: cannot listen there; the port is in use or not this machine's"
        ) from None


def caller(context: grpc.ServicerContext) -> Identity:
    """Return who calls: the certificate's identity, or on insecure loopback the claimed one.

    Raises NotAllowed if there is none, or if TLS is older than 1.3.
    """
    facts: Mapping[str, Any] = context.auth_context()
    if facts.get("transport_security_type") == [b"ssl"]:
        if facts.get("ssl_tls_version") != [b"TLSv1.3"]:
            raise NotAllowed("the connection is not TLS 1.3")
        uris = [uri.decode("ascii", "replace") for uri in facts.get("peer_uri", [])]
    else:
        claims = {str(key): str(value) for key, value in context.invocation_metadata()}
        uris = [f"spiffe://privedge/{claims.get(ROLE_KEY, '')}/{claims.get(NAME_KEY, '')}"]
    try:
        return Identity.from_uris(uris)
    except CertificateError as error:
        raise NotAllowed(str(error)) from None


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


_NOBODY: frozenset[Role] = frozenset()


class _Unparsed:
    """A marker for a request whose bytes do not parse as its message."""


class _Gate(grpc.ServerInterceptor):
    """Wrap every handler of the server; see the steps above."""

    def __init__(self, access: Mapping[str, frozenset[Role]]) -> None:
        self._access = access

    def intercept_service(
        self,
        continuation: "Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None]",
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler = continuation(handler_call_details)
        if handler is None:
            return None  # gRPC answers UNIMPLEMENTED
        method = handler_call_details.method
        return _wrap(handler, method, self._access.get(method, _NOBODY))


def _wrap(handler: Any, method: str, allowed: frozenset[Role]) -> "grpc.RpcMethodHandler[Any, Any]":
    kinds: dict[tuple[bool, bool], tuple[Any, Any]] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    }
    rebuild, behaviour = kinds[handler.request_streaming, handler.response_streaming]
    check = _Checked if handler.request_streaming else _checked

    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        with _translated(method, context):
            _admit(context, allowed)
            return behaviour(check(request), context)

    def answers(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with _translated(method, context):
            _admit(context, allowed)
            yield from behaviour(check(request), context)

    rebuilt: grpc.RpcMethodHandler[Any, Any] = rebuild(
        answers if handler.response_streaming else answer,
        request_deserializer=_lenient(handler.request_deserializer),
        response_serializer=handler.response_serializer,
    )
    return rebuilt


def _lenient(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """Defer a parse error until the gate can answer it: gRPC itself would answer INTERNAL."""
    if parse is None:
        return None

    def parse_or_mark(raw: bytes) -> Any:
        try:
            return parse(raw)
        except Exception:  # protobuf's own kinds; their texts may quote the bytes, so drop them
            return _Unparsed()

    return parse_or_mark


def _checked(request: Any) -> Any:
    if isinstance(request, _Unparsed):
        raise ShareError("a request does not parse")
    return request


class _Checked:
    """A request stream in which a message that does not parse raises ShareError."""

    def __init__(self, requests: Iterator[Any]) -> None:
        self._requests = requests

    def __iter__(self) -> "_Checked":
        return self

    def __next__(self) -> Any:
        return _checked(next(self._requests))


def _admit(context: grpc.ServicerContext, allowed: frozenset[Role]) -> None:
    who = caller(context)
    if who.role not in allowed:
        raise NotAllowed(f"{who.uri} has no access")


@contextmanager
def _translated(method: str, context: grpc.ServicerContext) -> Iterator[None]:
    """Turn any exception of the block into a status with a fixed text."""
    try:
        yield
        return
    except Exception as error:
        if _aborted(error, context):
            raise
        code, text = _ended(method, context, error)
    context.abort(code, text)  # outside the handler: abort() itself raises


def _aborted(error: Exception, context: Any) -> bool:
    """Return whether the servicer called context.abort(), which raises a bare Exception."""
    return type(error) is Exception and not error.args and context.code() is not None


def _ended(
    method: str, context: grpc.ServicerContext, error: Exception
) -> tuple[grpc.StatusCode, str]:
    """Log how the call ended, and choose its status."""
    if not context.is_active():  # cancelled, disconnected or out of time: nobody is listening
        log.info("%s: abandoned by its caller (%s)", method, type(error).__name__)
        return grpc.StatusCode.CANCELLED, "cancelled"
    code, text = status_of(error)
    if isinstance(error, PrivEdgeError) and code is not grpc.StatusCode.INTERNAL:
        log.warning("%s: refused as %s: %s", method, code.name, " ".join(str(error).split()))
        return code, text
    error_id = secrets.token_hex(4)
    context.set_trailing_metadata(((ERROR_ID, error_id),))
    log.error("%s: error %s: %s", method, error_id, _place(error))
    return code, text


def _place(error: Exception) -> str:
    """Return type and line of `error`, without its text, which could quote data."""
    where, trace = "", error.__traceback__
    while trace is not None:
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    text = f": {' '.join(str(error).split())}" if isinstance(error, PrivEdgeError) else ""
    return f"{type(error).__name__} at {where}{text}"
