"""The stream between the two parties' workers. Sees openings, which uniform masks hide.

Party 0's worker dials, party 1's answers. One call is one session; both sides first say which one
and what they are about to compute, then exchange frames in lockstep.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue

import grpc

from privedge.errors import OutOfTime, TranscriptMismatch, Unreachable
from privedge.mpc.dealing import SessionId
from privedge.rpc.chunks import cut
from privedge.rpc.deadline import Deadline
from privedge.rpc.status import from_status
from privedge.wire import mpc_pb2 as pb
from privedge.wire import mpc_pb2_grpc

# Raised when frames or the order of operations change.
PROTOCOL = 1


class PeerStream:
    """One session's stream, seen from either side: mpc.session.PeerLink."""

    def __init__(
        self, outgoing: SimpleQueue[pb.Frame | None], incoming: Iterator[pb.Frame]
    ) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self._counter = 0

    def say(self, mine: pb.SessionHello) -> None:
        """Open the session: what this side is about to do."""
        self._outgoing.put(pb.Frame(hello=mine))

    def hear(self) -> pb.SessionHello:
        """What the other side is about to do."""
        return self._next().hello

    def exchange(self, payload: memoryview) -> bytearray:
        """Send `payload` and return what the other side sent in the same exchange."""
        pieces = list(cut(payload)) or [b""]
        for number, piece in enumerate(pieces, start=1):
            frame = pb.Frame()
            frame.words.counter = self._counter
            frame.words.payload = piece
            frame.words.last = number == len(pieces)
            self._outgoing.put(frame)
        received = self._receive()
        self._counter += 1
        return received

    def _receive(self) -> bytearray:
        pieces = []
        while True:
            words = self._next().words
            if words.counter != self._counter:
                raise TranscriptMismatch(f"exchange {self._counter}: the other party is elsewhere")
            pieces.append(words.payload)
            if words.last:
                return bytearray().join(pieces)

    def close(self) -> None:
        """Nothing more will be sent."""
        self._outgoing.put(None)

    def finish(self) -> None:
        """End a session that both sides know is over: each closes and waits until the other has, so
        that neither hangs up before its last words are read.
        """
        self.close()
        with suppress(grpc.RpcError):
            for _ in self._incoming:
                pass

    def _next(self) -> pb.Frame:
        try:
            frame = next(self._incoming, None)
        except grpc.RpcError as error:
            # Seen from the answering side a lost call is an RpcError without a status.
            if isinstance(error, grpc.Call):
                raise from_status(error, "the other party's worker") from None
            frame = None
        if frame is None:
            raise Unreachable("the other party's worker left the session")
        return frame


def hello(run: SessionId, agreement: bytes) -> pb.SessionHello:
    """The opening message of a session."""
    return pb.SessionHello(
        protocol=PROTOCOL, session=run.session, attempt=run.attempt, agreement=agreement
    )


def dial(stub: mpc_pb2_grpc.MpcStub, deadline: Deadline) -> tuple[PeerStream, Callable[[], object]]:
    """Party 0's side: the stream, and how to cut it. Waits until party 1's worker is up."""
    outgoing: SimpleQueue[pb.Frame | None] = SimpleQueue()
    call = stub.Exchange(
        iter(outgoing.get, None), timeout=deadline.remaining(), wait_for_ready=True
    )
    stream = PeerStream(outgoing, call)

    def hang_up() -> None:
        # Cancelling alone would leave the thread that sends waiting for a next frame for ever.
        stream.close()
        call.cancel()

    return stream, hang_up


class Lobby:
    """Party 1's side: where calls from party 0's worker wait for the session that wants them."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._waiting: dict[SessionId, tuple[PeerStream, grpc.ServicerContext]] = {}

    def exchange(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        """Hold the call open for whoever takes it, until one of the two ends it."""
        first = next(request_iterator, pb.Frame())
        run = SessionId(first.hello.session, first.hello.attempt)
        outgoing: SimpleQueue[pb.Frame | None] = SimpleQueue()
        stream = PeerStream(outgoing, _prefixed(first, request_iterator))
        with self._arrived:
            self._waiting[run] = stream, context
            self._arrived.notify_all()
        try:
            if context.add_callback(stream.close):
                yield from iter(outgoing.get, None)
        finally:
            with self._arrived:
                self._waiting.pop(run, None)

    def take(
        self, run: SessionId, deadline: Deadline, given_up: threading.Event
    ) -> tuple[PeerStream, Callable[[], object]]:
        """The stream of `run`, and how to cut it. Raises OutOfTime if party 0's worker does not
        come in time, and Unreachable when the query is given up meanwhile.
        """
        with self._arrived:
            self._arrived.wait_for(
                lambda: run in self._waiting or given_up.is_set(), deadline.remaining()
            )
            if given_up.is_set():
                raise Unreachable("the query was given up")
            if run not in self._waiting:
                raise OutOfTime("party 0's worker did not open the session")
            stream, context = self._waiting.pop(run)
            return stream, context.cancel

    def look_again(self) -> None:
        """Wake up whoever waits in `take`."""
        with self._arrived:
            self._arrived.notify_all()


def _prefixed(first: pb.Frame, rest: Iterator[pb.Frame]) -> Iterator[pb.Frame]:
    yield first
    yield from rest
