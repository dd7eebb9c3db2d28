"""A channel that takes over renewed certificates. gRPC for Python reads them once, for ever.

The files are looked at before each call. If they have changed, a new connection with the new ones
is dialled for this call and the next; running calls end on the old connection, which is gone after
the last of them. Files that cannot be used are logged, and the old ones kept.

A call that waits for a connection which the other side refuses would wait for ever if its
certificate ended meanwhile. So the calls of a connection that was replaced end once it has failed.
`look_at_all` finds renewed files when nobody calls (parties/serving).
"""

import logging
import threading
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from privedge.errors import CertificateError

log = logging.getLogger(__name__)

_FAILED = tuple(
    state.value[0]
    for state in (
        grpc.ChannelConnectivity.TRANSIENT_FAILURE,
        grpc.ChannelConnectivity.SHUTDOWN,
    )
)


def look_at_all() -> None:
    """Let every open channel of this process look at its files. Cheap if nothing has changed."""
    for channel in list(_CHANNELS):
        channel.look()


def epoch_of(channel: grpc.Channel) -> int:
    """Return a number that grows whenever `channel` takes over renewed certificates.

    A call that its caller keeps for later should be given up when this number has changed.
    """
    return channel.epoch if isinstance(channel, RenewingChannel) else 0


class RenewingChannel(grpc.Channel):
    """A grpc.Channel over one connection after another. Thread-safe, as gRPC's own is."""

    def __init__(self, dial: Callable[[], grpc.Channel], stamp: Callable[[], Hashable]) -> None:
        """`dial` opens a connection with the files as they are; it may raise CertificateError.

        `stamp` returns what changes whenever one of the files does.
        """
        self.epoch = 0
        self._dial, self._stamp = dial, stamp
        self._lock = threading.Lock()
        self._seen = stamp()
        self._connection = _Connection(dial())
        self._replaced: list[_Connection] = []
        self._closed = False
        _CHANNELS.add(self)

    def look(self) -> None:
        """Take over renewed files, and let go of connections that have done their work."""
        with self._lock:
            if not self._closed and (stamp := self._stamp()) != self._seen:
                # Taken first: files that change while they are read are read at the next look.
                self._seen = stamp
                self._replace()
            self._replaced = [each for each in self._replaced if not each.let_go()]

    @property
    def connection(self) -> "_Connection":
        """The one to use now."""
        self.look()
        return self._connection

    # --- grpc.Channel -----------------------------------------------------------------------------

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        """Follow the state of the connection that is used now."""
        self.connection.channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        """End what `subscribe` began."""
        with self._lock:
            every = [*self._replaced, self._connection]
        for connection in every:
            connection.channel.unsubscribe(callback)

    def unary_unary(self, *args: Any, **more: Any) -> Any:
        """Return a method of the server."""
        return _AnsweredOnce(self, _method("unary_unary", args, more))

    def stream_unary(self, *args: Any, **more: Any) -> Any:
        """Return a method of the server."""
        return _AnsweredOnce(self, _method("stream_unary", args, more))

    def unary_stream(self, *args: Any, **more: Any) -> Any:
        """Return a method of the server."""
        return _AnsweredByAStream(self, _method("unary_stream", args, more))

    def stream_stream(self, *args: Any, **more: Any) -> Any:
        """Return a method of the server."""
        return _AnsweredByAStream(self, _method("stream_stream", args, more))

    def close(self) -> None:
        """Close all connections, and end their calls."""
        with self._lock:
            self._closed = True
            replaced, self._replaced = self._replaced, []
        _CHANNELS.discard(self)
        for each in (*replaced, self._connection):
            each.channel.close()

    def __enter__(self) -> "RenewingChannel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Parts ------------------------------------------------------------------------------------

    def _replace(self) -> None:
        try:
            renewed = _Connection(self._dial())
        except (CertificateError, OSError) as error:
            log.error("kept the old certificate: %s", error)
            return
        log.info("dials with the renewed certificate from now on")
        self._replaced.append(self._connection)
        self._connection = renewed
        self.epoch += 1


_CHANNELS: "weakref.WeakSet[RenewingChannel]" = weakref.WeakSet()


@dataclass(frozen=True)
class _Method:
    """What a stub says about one method."""

    kind: str
    args: tuple[Any, ...]
    more: tuple[tuple[str, Any], ...]


def _method(kind: str, args: tuple[Any, ...], more: dict[str, Any]) -> _Method:
    return _Method(kind, args, tuple(sorted(more.items())))


class _Connection:
    """A channel of gRPC's own, and the calls on it that go on by themselves. Thread-safe.

    gRPC closes a channel to which nothing refers any more, its calls included.
    """

    def __init__(self, channel: Any) -> None:
        self.channel = channel
        self._lock = threading.Lock()
        self._calls: set[Any] = set()
        self._methods: dict[_Method, Any] = {}

    def method(self, wanted: _Method) -> Any:
        """Return gRPC's object for a method of the server."""
        found = self._methods.get(wanted)
        if found is None:
            found = getattr(self.channel, wanted.kind)(*wanted.args, **dict(wanted.more))
            self._methods[wanted] = found
        return found

    def running(self, call: Any) -> Any:
        """Remember `call` until it ends, and return it."""
        with self._lock:
            self._calls.add(call)
        if not call.add_callback(partial(self._ended, call)):
            self._ended(call)
        return call

    def let_go(self) -> bool:
        """Return whether no call goes on here. If the connection has failed, end those that wait
        for it.
        """
        if self._calls and self._has_failed():
            self.channel.close()
            return True
        return not self._calls

    def _ended(self, call: Any) -> None:
        with self._lock:
            self._calls.discard(call)

    def _has_failed(self) -> bool:
        # gRPC's own `subscribe` starts a thread, which ends with an exception when such a channel
        # is closed.
        state: Any = self.channel._channel.check_connectivity_state(False)
        return state in _FAILED


class _Callable:
    def __init__(self, channel: RenewingChannel, method: _Method) -> None:
        self._channel, self._method = channel, method


class _AnsweredOnce(_Callable):
    """grpc.UnaryUnaryMultiCallable or grpc.StreamUnaryMultiCallable."""

    def __call__(self, request: Any, *args: Any, **more: Any) -> Any:
        return self._channel.connection.method(self._method)(request, *args, **more)

    def with_call(self, request: Any, *args: Any, **more: Any) -> Any:
        return self._channel.connection.method(self._method).with_call(request, *args, **more)

    def future(self, request: Any, *args: Any, **more: Any) -> Any:
        connection = self._channel.connection
        return connection.running(connection.method(self._method).future(request, *args, **more))


class _AnsweredByAStream(_Callable):
    """grpc.UnaryStreamMultiCallable or grpc.StreamStreamMultiCallable."""

    def __call__(self, request: Any, *args: Any, **more: Any) -> Any:
        connection = self._channel.connection
        return connection.running(connection.method(self._method)(request, *args, **more))
