"""Open channels to servers. Sees addresses and certificates; other modules make the calls.

A dropped connection is dialled again within a second. A silent peer is noticed after about 15
seconds.
"""

from dataclasses import dataclass
from typing import Any

import grpc

from privedge.config import CallerConfig, ClientConfig, TlsFiles
from privedge.errors import ConfigError, Unreachable
from privedge.identity.roles import Identity, Role
from privedge.rpc import loopback, tls
from privedge.rpc.renewal import RenewingChannel
from privedge.rpc.status import calls_to

# How long to wait for the reason why there is no connection.
_ASK_WHY_S = 0.5
MAX_MESSAGE_BYTES = 4 << 20
ROLE_KEY, NAME_KEY = "privedge-role", "privedge-name"

_OPTIONS = [
    # One frame for a message, not hundreds of 16 KiB: this saves a fifth of the time per MiB.
    ("grpc.http2.max_frame_size", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt may last, handshake included; 100 ms is too short on a busy machine.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # An unanswered ping closes the connection. Without the third line that needs a minute; without
    # the fourth, a call on which no data flows is pinged only twice.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Only code that knows that a call may be repeated repeats it.
    ("grpc.enable_retries", 0),
    # No connection uses a proxy, and none is shared with a channel of another identity.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


def open_channel(
    address: str, *, server: Role, tls: TlsFiles | None, claim: Identity | None = None
) -> grpc.Channel:
    """Open a channel to `address`; the certificate there must be that of `server`.

    If `tls` is None, the address must be a loopback one, and `claim` is sent as the caller's
    unproven identity. With `tls`, renewed files are taken over (rpc/renewal.py). Raises ConfigError
    or CertificateError. Only the first call shows whether the server is absent.
    """
    if tls is not None:
        return _secure(address, server, tls)
    loopback.require(address)
    if claim is None:
        raise ConfigError(f"{address}: without TLS a role and a name must be given")
    channel: grpc.Channel = grpc.intercept_channel(
        grpc.insecure_channel(address, options=[*_OPTIONS, *message_limits(address)]), _Claim(claim)
    )
    return channel


def open_party(config: ClientConfig, party: Role) -> grpc.Channel:
    """Open a channel to party 0 or party 1 as an owner's, client's or admin's `config` says."""
    return open_as(config, config.party0 if party is Role.PARTY0 else config.party1, party)


def open_as(config: CallerConfig, address: str, server: Role) -> grpc.Channel:
    """Open a channel to `server` at `address` for the caller in `config`."""
    claim = None
    if config.role is not None and config.name is not None:
        if config.role not in set(Role):
            raise ConfigError(f"role: {config.role} is none of {', '.join(Role)}")
        claim = Identity(Role(config.role), config.name)
    return open_channel(address, server=server, tls=config.tls, claim=claim)


def message_limits(address: str) -> list[tuple[str, int]]:
    """Return gRPC options: a Unix socket has no limit, for one operator owns both of its ends."""
    limit = -1 if address.startswith("unix:") else MAX_MESSAGE_BYTES
    return [("grpc.max_send_message_length", limit), ("grpc.max_receive_message_length", limit)]


def wait_connected(channel: grpc.Channel, peer: str, *, within_s: float = 2.0) -> None:
    """Return once the channel is connected. Raises Unreachable, naming `peer`.

    Without this wait, a call to a server that has just restarted would fail, because gRPC pauses
    between two attempts to connect.
    """
    try:
        grpc.channel_ready_future(channel).result(timeout=within_s)
    except grpc.FutureTimeoutError:
        _ask_why_not(channel, peer)


def _ask_why_not(channel: grpc.Channel, peer: str) -> None:
    """Make a call, which fails with the reason why the connection was not made."""
    check = channel.unary_unary("/grpc.health.v1.Health/Check", lambda nothing: nothing, bytes)
    with calls_to(peer):
        try:
            check(b"", timeout=_ASK_WHY_S)
        except grpc.RpcError as error:
            call: Any = error
            if call.code() is grpc.StatusCode.UNAVAILABLE:
                raise
            if call.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise Unreachable(f"{peer}: does not answer; check that it is running") from None


def peer_name(server: Role, address: str) -> str:
    """Return a server's name for error messages: "party 0 (host:port)"."""
    return f"{server.label} ({address})"


def _secure(address: str, server: Role, files: TlsFiles) -> grpc.Channel:
    options = [*_OPTIONS, *message_limits(address), ("grpc.ssl_target_name_override", server.host)]

    def dial() -> grpc.Channel:
        return grpc.secure_channel(address, tls.client_credentials(files, server), options=options)

    paths = tls.paths_of(files)
    return RenewingChannel(dial, lambda: tuple(map(tls.stamp_of, paths)))


class _Claim(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Send the claimed role and name with every call."""

    def __init__(self, claim: Identity) -> None:
        self._entries = [(ROLE_KEY, claim.role.value), (NAME_KEY, claim.name)]

    def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        claimed = _Details(
            method=details.method,
            timeout=details.timeout,
            metadata=[*(details.metadata or ()), *self._entries],
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
            compression=details.compression,
        )
        return continuation(claimed, request)

    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_unary: Any = _call
    intercept_stream_stream: Any = _call


@dataclass(frozen=True)
class _Details(grpc.ClientCallDetails):
    """A substitute for gRPC's own details, which cannot be built or changed."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any
