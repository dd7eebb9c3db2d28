"""Ask both parties one question at once: send each a share, receive a share of the answer.

Sees both shares of the query and of the answer. An exchange runs on its caller's thread and on one
more thread, so any number of exchanges can run at once.
"""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from privedge import traces
from privedge.client.answers import require_shape
from privedge.errors import Cancelled, Restarting, ShareError, Unreachable
from privedge.rpc import codec, request_id
from privedge.rpc.chunks import cut
from privedge.rpc.status import calls_to
from privedge.sharing.cost import Cost
from privedge.sharing.question import Question
from privedge.sharing.ring import WORD_BYTES, Words, from_bytes, to_bytes
from privedge.sharing.split import split
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub

# Seconds to wait for the other party's reason, when one party reports only a lost connection. Less
# than it takes a spare worker to serve and answer the same question, asked again, within 2 seconds.
_REASON_S = 1.0


@dataclass(frozen=True)
class Party:
    """A connection to one party; `name` is for messages: "party 0 (host:port)"."""

    stub: PartyStub
    name: str


@dataclass(frozen=True)
class Half:
    """What one party returned: its share of the answer, and its cost of the query."""

    words: Words = field(repr=False)
    cost: Cost


@dataclass(frozen=True)
class Asked:
    """One question: what it is, the shape of the answer that fits it, and seconds for each call."""

    question: Question
    answer: tuple[int, int]
    timeout_s: float

    def metadata(self) -> request_id.Metadata:
        """Return what both parties are told of the call: its id, and the present span."""
        return (*request_id.metadata([self.question.query_id]), *traces.passed_on())


def exchange(parties: Sequence[Party], asked: Asked, query: Words) -> tuple[Half, Half]:
    """Split `query`, send each party its share, and return what party 0 and party 1 answered.

    query: uint64, fixed-point words of the question's shape.

    Raises the refusal of a party, as one of our errors, and IntegrityError or ShareError as soon as
    an answer is another one than the question asks for. A failure at one party ends the call to the
    other.
    """
    both = _Both(parties, asked, split(query))
    other = threading.Thread(target=both.ask, args=(1,), name="party 1")
    other.start()
    try:
        both.ask(0)
        other.join()
    finally:  # also when a signal interrupts the wait
        both.cancel()
    return both.result()


class _Both:
    """The two calls of one question, each made by a thread of its own."""

    def __init__(
        self,
        parties: Sequence[Party],
        asked: Asked,
        shares: tuple[Words, Words],
    ) -> None:
        self._parties, self._asked, self._shares = parties, asked, shares
        # Of the caller's thread, whose span it is.
        self._metadata = asked.metadata()
        self._calls = _Calls()
        self._ended = (threading.Event(), threading.Event())
        self._halves: dict[int, Half] = {}
        # In order of arrival.
        self._errors: list[BaseException] = []

    def ask(self, index: int) -> None:
        """Make the call to party `index` and wait for its end. If it fails, end both calls."""
        party, share = self._parties[index], self._shares[index]
        try:
            self._halves[index] = _half(party, self._asked, share, self._metadata, self._calls)
        except BaseException as error:
            self._errors.append(error)
            self._ended[index].set()
            if isinstance(error, Unreachable) and not isinstance(error, Restarting):
                # A party that lost the other party reports it at once, but does not know why. The
                # other party may be about to report the cause.
                self._ended[1 - index].wait(_REASON_S)
            self.cancel()
        else:
            self._ended[index].set()

    def cancel(self) -> None:
        """End both calls. A call that has ended already is not affected."""
        self._calls.cancel()

    def result(self) -> tuple[Half, Half]:
        """Return both halves, or raise the error that explains the failure best.

        An error that names a cause comes before Restarting, and that before Unreachable, which says
        only that a connection was lost. Cancelled comes last: it only follows from the other call's
        failure. Among equals the first error is raised.
        """
        causes = [error for error in self._errors if not isinstance(error, Cancelled)]
        causes.sort(key=_says_little)
        if failures := causes or self._errors:
            raise failures[0]
        return self._halves[0], self._halves[1]


def _says_little(error: BaseException) -> int:
    return isinstance(error, Unreachable) + (type(error) is Unreachable)


class _Calls:
    """The calls to cancel together. `cancel` may come before the other call has begun."""

    def __init__(self) -> None:
        self._cancels: list[Callable[[], object]] = []
        self._over = threading.Event()

    def add(self, cancel: Callable[[], object]) -> None:
        """Add the function that cancels a call. It is called at once if `cancel` came before."""
        self._cancels.append(cancel)
        if self._over.is_set():
            cancel()

    def cancel(self) -> None:
        """Cancel all calls, and every call that is added later."""
        self._over.set()
        for cancel in list(self._cancels):
            cancel()


def _half(
    party: Party, asked: Asked, share: Words, metadata: request_id.Metadata, calls: _Calls
) -> Half:
    with calls_to(party.name):
        call = party.stub.Query(
            query_requests(asked.question, share),
            timeout=asked.timeout_s,
            metadata=metadata,
        )
        calls.add(call.cancel)
        header = next(call, pb.QueryResponse()).header
        shape = codec.shape_from_wire(header.shape, party.name)
        require_shape(shape, asked.answer)
        words = from_bytes(_received(party, call, WORD_BYTES * math.prod(shape)), shape)
    return Half(words, codec.cost_from_wire(header.cost))


def _received(party: Party, responses: Iterator[pb.QueryResponse], expected: int) -> bytes:
    """Read no more than the answer: a party could go on for ever."""
    received = bytearray()
    for response in responses:
        received += response.words
        if not response.words or len(received) > expected:
            raise ShareError(f"{party.name}: its answer is not the {expected} bytes expected")
    return bytes(received)


def query_requests(question: Question, share: Words) -> Iterator[pb.QueryRequest]:
    """Yield the messages of one party's call: the header, then the share in chunks."""
    yield pb.QueryRequest(header=codec.question_to_wire(question))
    for piece in cut(to_bytes(share, question.word_bits)):
        yield pb.QueryRequest(words=piece)
