"""The stream between the two parties' workers. Sees openings, which uniform masks hide.

Party 0's worker dials, party 1's answers. One call carries one session after another, as long as
they go well: opening a call takes longer than a small session. Both sides first say which session
it is and what they are about to compute, then exchange frames in lockstep.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any

import grpc

from privedge.errors import OutOfTime, TranscriptMismatch, Unreachable
from privedge.mpc.dealing import SessionId
from privedge.rpc.chunks import cut
from privedge.rpc.deadline import Deadline
from privedge.rpc.status import from_status
from privedge.rpc.versions import MPC
from privedge.wire import mpc_pb2 as pb
from privedge.wire import mpc_pb2_grpc

_Outgoing = SimpleQueue[pb.Frame | None]
# What is to be sent on a call, and the call.
_Call = tuple[_Outgoing, Any]


class PeerStream:
    """One session's stream, seen from either side: mpc.session.PeerLink."""

    def __init__(
        self,
        outgoing: _Outgoing,
        incoming: Iterator[pb.Frame],
        *,
        release: Callable[[], object],
        cut_off: Callable[[], object],
    ) -> None:
        """`release()` ends a session that went well; the call may carry another one. `cut_off()`
        ends the call.
        """
        self.release = release
        self.cut_off = cut_off
        self._outgoing = outgoing
        self._incoming = incoming
        self._counter = 0

    def say(self, mine: pb.SessionHello) -> None:
        """Open the session: what this side is about to do."""
        self._outgoing.put(pb.Frame(hello=mine))

    def hear(self) -> pb.SessionHello:
        """What the other side is about to do."""
        return self._next().hello

    def explain(self, facts: str) -> str:
        """Say what this side meant by an agreement that differs, and hear the other's; empty if it
        has left.
        """
        self._outgoing.put(pb.Frame(facts=facts))
        try:
            return self._next().facts
        except Unreachable:
            return ""

    def exchange(self, payload: bytes) -> bytearray:
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

    def finish(self) -> None:
        """End a session that both sides know has failed: each closes and waits until the other has,
        so that neither hangs up before its last words are read.
        """
        self._outgoing.put(None)
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
    return pb.SessionHello(protocol=MPC, session=run.session, agreement=agreement)


class Dialer:
    """Party 0's side: one call, kept for the next session. For one session at a time."""

    def __init__(self, stub: mpc_pb2_grpc.MpcStub) -> None:
        self._stub = stub
        self._kept: _Call | None = None

    def greet(
        self, mine: pb.SessionHello, abandon: Callable[[Callable[[], object]], None]
    ) -> tuple[PeerStream, pb.SessionHello]:
        """The session's stream, and what party 1's worker says to `mine`. `abandon` is told how to
        cut the call. Waits until that worker is up. Raises Unreachable.
        """
        if self._kept is not None and self._kept[1].is_active():
            with suppress(Unreachable):  # it went, and was not missed yet
                return self._greeted(self._kept, mine, abandon)
            # Party 1 may have spent its half of the bundle: no name is said twice.
            mine.bundle = b""
        outgoing: _Outgoing = SimpleQueue()
        call = self._stub.Exchange(iter(outgoing.get, None), wait_for_ready=True)
        return self._greeted((outgoing, call), mine, abandon)

    def _greeted(
        self,
        kept: _Call,
        mine: pb.SessionHello,
        abandon: Callable[[Callable[[], object]], None],
    ) -> tuple[PeerStream, pb.SessionHello]:
        outgoing, call = kept
        self._kept = None

        def release() -> None:
            self._kept = kept

        def cut_off() -> None:
            # Cancelling alone would leave the thread that sends waiting for a next frame for ever.
            outgoing.put(None)
            call.cancel()

        stream = PeerStream(outgoing, call, release=release, cut_off=cut_off)
        abandon(cut_off)
        try:
            stream.say(mine)
            return stream, stream.hear()
        except BaseException:
            cut_off()
            raise


class Acceptor:
    """Party 1's side: where sessions of party 0's worker wait for whoever wants them."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._waiting: dict[SessionId, PeerStream] = {}

    def exchange(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        """Hold the call open for the sessions that come over it, until one of the two ends it."""
        outgoing: _Outgoing = SimpleQueue()
        over = threading.Semaphore(0)
        ended = threading.Event()

        def end() -> None:
            ended.set()
            over.release()
            outgoing.put(None)

        def sessions() -> None:
            while not ended.is_set() and (first := _opening(request_iterator)):
                stream = PeerStream(
                    outgoing,
                    _prefixed(first, request_iterator),
                    release=over.release,
                    cut_off=context.cancel,
                )
                run = SessionId(first.hello.session)
                with self._offered(run, stream):
                    over.acquire()
            end()

        if context.add_callback(end):
            threading.Thread(target=sessions, name="lobby", daemon=True).start()
            yield from iter(outgoing.get, None)

    @contextmanager
    def _offered(self, run: SessionId, stream: PeerStream) -> Iterator[None]:
        with self._arrived:
            self._waiting[run] = stream
            self._arrived.notify_all()
        try:
            yield
        finally:
            with self._arrived:
                self._waiting.pop(run, None)

    def take(self, run: SessionId, deadline: Deadline, given_up: threading.Event) -> PeerStream:
        """The stream of `run`. Raises OutOfTime if party 0's worker does not come in time, and
        Unreachable when the query is given up meanwhile.
        """
        with self._arrived:
            self._arrived.wait_for(
                lambda: run in self._waiting or given_up.is_set(), deadline.remaining()
            )
            if given_up.is_set():
                raise Unreachable("the query was given up")
            if run not in self._waiting:
                raise OutOfTime("party 0's worker did not open the session")
            return self._waiting.pop(run)

    def look_again(self) -> None:
        """Wake up whoever waits in `take`."""
        with self._arrived:
            self._arrived.notify_all()


def _opening(incoming: Iterator[pb.Frame]) -> pb.Frame | None:
    """The first frame of the next session; None when the call is over."""
    try:
        return next(incoming, None)
    except grpc.RpcError:
        return None


def _prefixed(first: pb.Frame, rest: Iterator[pb.Frame]) -> Iterator[pb.Frame]:
    yield first
    yield from rest
