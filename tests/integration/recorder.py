"""A proxy between the two parties' workers that records what they send. Sees openings only.

It has both parties' certificates. Nobody has both outside a test.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import suppress

import grpc

from parties.wire import mpc_pb2 as pb
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import Deployment
from privedge.rpc.channel import open_channel
from privedge.rpc.tls import server_credentials

_THREADS = 64
_DIGEST_BYTES = 16
_LEAST_BYTES = 64
_EXCHANGE = "/privedge.v1.Mpc/Exchange"

Change = Callable[[pb.SessionHello], None]


class Recorder(grpc.GenericRpcHandler):
    """`openings`: SHA-256 of what each party opened in each exchange; `bundles`: names that party 0
    said it would spend; `ordered`: names of those it had made. Use as a context manager, before the
    deployment starts.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.openings: list[bytes] = []
        self.bundles: list[bytes] = []
        self.ordered: list[bytes] = []
        # Called with each hello of party 0, and of party 1, before it is passed on.
        self.on_hello: list[Change] = [lambda _: None, lambda _: None]
        # Called with each first frame of words of a party, before it is passed on.
        self.on_words: list[Callable[[], None]] = [lambda: None, lambda: None]
        # From which exchange of a session on a party counts one too many; None for an honest one.
        self.skips_at: list[int | None] = [None, None]
        # How many frames went out under such a count.
        self.skipped = 0
        self._lock = threading.Lock()
        self._deployment = deployment
        self._worker = f"127.0.0.1:{deployment.worker_port}"

    def __enter__(self) -> "Recorder":
        party0, party1 = (
            self._deployment.tls(Identity(role, role.value)) for role in (Role.PARTY0, Role.PARTY1)
        )
        self._channel = open_channel(self._worker, server=Role.PARTY1, tls=party0)
        self._server = grpc.server(
            futures.ThreadPoolExecutor(_THREADS), handlers=[self], maximum_concurrent_rpcs=_THREADS
        )
        port = self._server.add_secure_port("127.0.0.1:0", server_credentials(party1))
        file = self._deployment.config_file(Role.PARTY0)
        said = file.read_text()
        assert self._worker in said
        file.write_text(said.replace(self._worker, f"127.0.0.1:{port}"))
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        self._channel.close()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Bytes in, bytes out."""
        method = handler_call_details.method

        def passed_on(sent: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            requests = _until_lost(sent)
            requests = self._seen(0, requests) if method == _EXCHANGE else self._orders(requests)
            call = self._channel.stream_stream(method)(requests, wait_for_ready=True)
            if not context.add_callback(call.cancel):
                call.cancel()
            if method != _EXCHANGE:
                context.send_initial_metadata(call.initial_metadata())
            try:
                yield from self._seen(1, call) if method == _EXCHANGE else call
            except grpc.RpcError as error:
                ended = error
            else:
                return
            context.abort(ended.code(), ended.details())

        return grpc.stream_stream_rpc_method_handler(passed_on)

    def _seen(self, party: int, frames: Iterator[bytes]) -> Iterator[bytes]:
        words = bytearray()
        for raw in frames:
            frame = pb.Frame.FromString(raw)
            if frame.HasField("hello"):
                self._hear(party, frame.hello)
                yield frame.SerializeToString()
                continue
            if frame.words.counter == 0 and not words:
                self.on_words[party]()
            words += frame.words.payload
            if frame.words.last:
                self._note(bytes(words[:-_DIGEST_BYTES]))
                words.clear()
            skips_at = self.skips_at[party]
            if skips_at is None or frame.words.counter < skips_at:
                yield raw
                continue
            self.skipped += 1
            frame.words.counter += 1
            yield frame.SerializeToString()

    def _orders(self, orders: Iterator[bytes]) -> Iterator[bytes]:
        for raw in orders:
            order = pb.Preparation.FromString(raw)
            if order.kind == pb.Preparation.BUNDLE:
                self.ordered.append(order.session)
            yield raw

    def _hear(self, party: int, hello: pb.SessionHello) -> None:
        if party == 0 and hello.bundle:
            with self._lock:
                self.bundles.append(hello.bundle)
        self.on_hello[party](hello)

    def _note(self, opened: bytes) -> None:
        if len(opened) >= _LEAST_BYTES:
            with self._lock:
                self.openings.append(hashlib.sha256(opened).digest())


def _until_lost(requests: Iterator[bytes]) -> Iterator[bytes]:
    """A caller that was killed sends no more."""
    with suppress(grpc.RpcError):
        yield from requests
