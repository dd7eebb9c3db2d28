"""How the two parties' workers meet, and their stream. Sees openings, which uniform masks hide.

Party 0's worker dials and party 1's accepts. One call carries one session after another while they
go well, because opening a call takes longer than a small session. In each session:

    1.  party 0 -> party 1   Greeting: what it will compute, its masked weights, its bundle
    2.  party 1 -> party 0   Greeting, with the same bundle if party 1 has it too
    3.  both                 exchange frames of words in lockstep

A worker that cannot begin says so, and the other one stops waiting: party 0 with a greeting that
has no agreement, party 1 by ending the call.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any, Protocol

import grpc

from parties.bounded_dict import BoundedDict
from parties.mpc.dealing import SessionId
from parties.mpc.release import new_nonce
from parties.wire import mpc_pb2 as pb
from parties.wire import mpc_pb2_grpc
from parties.worker.cancellation import Cancellation
from parties.worker.preprocessing.pool import BundleChoice
from privedge.errors import DeadlineExceeded, TranscriptMismatch, Unreachable
from privedge.rpc.chunks import cut
from privedge.rpc.deadline import Deadline
from privedge.rpc.status import from_status
from privedge.rpc.versions import MPC

# How many runs that were given up are remembered, and how long party 0 tries to say so.
_REMEMBERED, _GIVEN_UP_CALLS, _GIVE_UP_S = 64, 8, 10.0

_Outgoing = SimpleQueue[pb.Frame | None]


@dataclass(frozen=True)
class _Call:
    """What is to be sent on a call, the call, and the epoch of the channel that it began in."""

    outgoing: _Outgoing
    call: Any
    epoch: int


@dataclass(frozen=True)
class Greeting:
    """What one worker says as a session opens. Empty `masked_weights` or `bundle` means none.

    `release_nonce`: this worker's half of the secret under which the run's results are released.
    """

    session: bytes
    agreement: bytes
    masked_weights: bytes = b""
    bundle: bytes = b""
    protocol: int = MPC
    release_nonce: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Agreement:
    """What this worker brings to a session: the digest of its task, the name of the masked weights
    that it holds, and the choice of a bundle; None in a session that uses none.
    """

    digest: bytes
    masked_weights: bytes = b""
    choice: BundleChoice | None = None

    def pick(self) -> bytes:
        """BundleChoice.pick."""
        return self.choice.pick() if self.choice is not None else b""

    def match(self, name: bytes) -> bytes:
        """BundleChoice.match."""
        return self.choice.match(name) if self.choice is not None else b""

    def greeting(self, run: SessionId, bundle: bytes) -> Greeting:
        """This worker's greeting, with the bundle that it chose and a fresh nonce."""
        return Greeting(
            run.session, self.digest, self.masked_weights, bundle, release_nonce=new_nonce()
        )


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
        """`release()` ends a session that went well, after which the call may carry another one.
        `cut_off()` ends the call.
        """
        self.release = release
        self.cut_off = cut_off
        self._outgoing = outgoing
        self._incoming = incoming
        self._counter = 0

    def say(self, mine: Greeting) -> None:
        """Send this side's greeting."""
        self._outgoing.put(pb.Frame(hello=_greeting_to_wire(mine)))

    def hear(self) -> Greeting:
        """Wait for the other side's greeting."""
        return _greeting_from_wire(self._next().hello)

    def explain(self, facts: str) -> str:
        """After greetings that differ: send the facts behind this side's agreement and return the
        other side's; empty if it has left.
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
        """End a session that both sides know has failed: each closes its half of the call and waits
        until the other has too, so that neither hangs up before its last words are read.
        """
        self._outgoing.put(None)
        with suppress(grpc.RpcError):
            for _ in self._incoming:
                pass

    def _next(self) -> pb.Frame:
        try:
            frame = next(self._incoming, None)
        except grpc.RpcError as error:
            # On the accepting side a lost call is an RpcError without a status.
            if isinstance(error, grpc.Call):
                raise from_status(error, "the other party's worker") from None
            frame = None
        if frame is None:
            raise Unreachable("the other party's worker left the session")
        return frame


@dataclass(frozen=True)
class Met:
    """A session that both workers have opened, and both greetings."""

    stream: PeerStream
    mine: Greeting
    theirs: Greeting


class Meeting(Protocol):
    """How this party's worker meets the other one."""

    def open(
        self, run: SessionId, agreement: Agreement, deadline: Deadline, cancellation: Cancellation
    ) -> Met:
        """Open the session of `run` and exchange greetings. `cancellation` then ends the call.

        Raises Unreachable if the other worker leaves or gives the run up, or the run is cancelled;
        and DeadlineExceeded.
        """
        ...

    def give_up(self, run: SessionId) -> None:
        """This worker cannot take part in `run`: end the other one's half now, or when it comes.

        Does not wait. Nothing happens if `open` was called: what ended it has cut the stream off.
        """
        ...


class Dialer:
    """Party 0's Meeting: one call, kept for the next session. It serves one session at a time."""

    def __init__(self, stub: mpc_pb2_grpc.MpcStub, epoch: Callable[[], int] = lambda: 0) -> None:
        """`epoch` is that of the channel (rpc/renewal.py): no call is kept from one to the next, or
        it would be cut in the middle of a session when the old certificate ends.
        """
        self._stub = stub
        self._epoch = epoch
        self._kept: _Call | None = None
        self._opened: SessionId | None = None
        # gRPC cancels a call that nobody refers to.
        self._given_up: deque[Any] = deque(maxlen=_GIVEN_UP_CALLS)

    def open(
        self, run: SessionId, agreement: Agreement, deadline: Deadline, cancellation: Cancellation
    ) -> Met:
        """Meeting.open. It waits until party 1's worker is up, or the caller of the run leaves,
        which a caller does at its deadline.
        """
        self._opened = run
        mine = agreement.greeting(run, agreement.pick())
        if (kept := self._still_good()) is not None:
            with suppress(Unreachable):  # party 1's worker went, which was not noticed yet
                return self._open_on(kept, mine, cancellation)
            # Party 1 may have used its share of the bundle, so its name is not said twice.
            mine = replace(mine, bundle=b"")
        outgoing: _Outgoing = SimpleQueue()
        epoch = self._epoch()
        call = self._stub.Exchange(iter(outgoing.get, None), wait_for_ready=True)
        return self._open_on(_Call(outgoing, call, epoch), mine, cancellation)

    def _still_good(self) -> _Call | None:
        """The kept call, unless it has ended or the channel's certificates were renewed since."""
        kept = self._kept
        if kept is not None and kept.epoch != self._epoch():
            kept.outgoing.put(None)
            return None
        return kept if kept is not None and kept.call.is_active() else None

    def give_up(self, run: SessionId) -> None:
        """Meeting.give_up: a call of its own, with a greeting that agrees to nothing."""
        if self._opened != run:
            frames = iter([pb.Frame(hello=_greeting_to_wire(Greeting(run.session, b"")))])
            self._given_up.append(self._stub.Exchange(frames, timeout=_GIVE_UP_S))

    def _open_on(self, kept: _Call, mine: Greeting, cancellation: Cancellation) -> Met:
        outgoing, call = kept.outgoing, kept.call
        self._kept = None

        def release() -> None:
            self._kept = kept

        def cut_off() -> None:
            # Cancelling alone would leave the thread that sends waiting for a next frame for ever.
            outgoing.put(None)
            call.cancel()

        stream = PeerStream(outgoing, call, release=release, cut_off=cut_off)
        cancellation.add(cut_off)
        try:
            stream.say(mine)
            return Met(stream, mine, stream.hear())
        except BaseException:
            cut_off()
            raise


class Acceptor:
    """Party 1's Meeting: sessions of party 0's worker wait here until a run of party 1 takes them.
    Safe to call from several threads.
    """

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._waiting: dict[SessionId, PeerStream] = {}
        # By either worker. The other half may come later.
        self._given_up: BoundedDict[SessionId, None] = BoundedDict(_REMEMBERED)

    def open(
        self, run: SessionId, agreement: Agreement, deadline: Deadline, cancellation: Cancellation
    ) -> Met:
        """Meeting.open. Raises DeadlineExceeded if party 0's worker comes after `deadline`."""
        cancellation.add(self._look_again)
        stream = self._take(run, deadline, cancellation.cancelled)
        cancellation.add(stream.cut_off)
        theirs = stream.hear()
        mine = agreement.greeting(run, agreement.match(theirs.bundle))
        stream.say(mine)
        return Met(stream, mine, theirs)

    def give_up(self, run: SessionId) -> None:
        """Meeting.give_up: party 0's worker is cut off now, or as soon as it comes."""
        with self._arrived:
            self._given_up[run] = None
            waiting = self._waiting.pop(run, None)
            self._arrived.notify_all()
        if waiting is not None:
            waiting.cut_off()

    def exchange(
        self, request_iterator: Iterator[pb.Frame], context: grpc.ServicerContext
    ) -> Iterator[pb.Frame]:
        """Serve one call of party 0's worker and the sessions on it, until one side ends it."""
        outgoing: _Outgoing = SimpleQueue()
        over = threading.Semaphore(0)
        ended = threading.Event()

        def end() -> None:
            ended.set()
            over.release()
            outgoing.put(None)

        def sessions() -> None:
            while not ended.is_set() and (first := _first_frame(request_iterator)):
                run = SessionId(first.hello.session)
                if not first.hello.agreement:
                    self.give_up(run)
                    break
                stream = PeerStream(
                    outgoing,
                    _prefixed(first, request_iterator),
                    release=over.release,
                    cut_off=context.cancel,
                )
                with self._offered(run, stream):
                    over.acquire()
            end()

        if context.add_callback(end):
            threading.Thread(target=sessions, name="acceptor", daemon=True).start()
            yield from iter(outgoing.get, None)

    @contextmanager
    def _offered(self, run: SessionId, stream: PeerStream) -> Iterator[None]:
        with self._arrived:
            given_up = run in self._given_up
            self._waiting[run] = stream
            self._arrived.notify_all()
        if given_up:
            stream.cut_off()
        try:
            yield
        finally:
            with self._arrived:
                self._waiting.pop(run, None)

    def _take(self, run: SessionId, deadline: Deadline, cancelled: threading.Event) -> PeerStream:
        with self._arrived:
            self._arrived.wait_for(
                lambda: run in self._waiting or run in self._given_up or cancelled.is_set(),
                deadline.remaining(),
            )
            if run in self._given_up:
                raise Unreachable("the other party's worker cannot take part in this run")
            if cancelled.is_set():
                raise Unreachable("the query was given up")
            if run not in self._waiting:
                raise DeadlineExceeded("party 0's worker did not open the session")
            return self._waiting.pop(run)

    def _look_again(self) -> None:
        with self._arrived:
            self._arrived.notify_all()


def _first_frame(incoming: Iterator[pb.Frame]) -> pb.Frame | None:
    """The first frame of the next session; None when the call is over."""
    try:
        return next(incoming, None)
    except grpc.RpcError:
        return None


def _prefixed(first: pb.Frame, rest: Iterator[pb.Frame]) -> Iterator[pb.Frame]:
    yield first
    yield from rest


def _greeting_to_wire(greeting: Greeting) -> pb.SessionHello:
    return pb.SessionHello(
        protocol=greeting.protocol,
        session=greeting.session,
        agreement=greeting.agreement,
        masked_weights=greeting.masked_weights,
        bundle=greeting.bundle,
        release_nonce=greeting.release_nonce,
    )


def _greeting_from_wire(hello: pb.SessionHello) -> Greeting:
    return Greeting(
        hello.session,
        hello.agreement,
        hello.masked_weights,
        hello.bundle,
        hello.protocol,
        hello.release_nonce,
    )
