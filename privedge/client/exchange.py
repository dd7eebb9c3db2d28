"""One question to both parties at once: a share to each, a share of the answer from each.

Sees both shares of the query and of the answer. An exchange takes its caller's thread and one of
its own, so any number of them can go on at once: none waits for another.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from privedge.errors import Cancelled, ShareError, Unreachable
from privedge.rpc import codec
from privedge.rpc.chunks import cut
from privedge.rpc.status import calls_to
from privedge.sharing.cost import Cost
from privedge.sharing.question import Question
from privedge.sharing.ring import Words, from_bytes, to_bytes
from privedge.sharing.split import split
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub

# How long the other party may take to say why a query failed, once one only knows that it did.
_REASON_S = 2.0


@dataclass(frozen=True)
class Party:
    """A connection to one party; `name` is for messages: "party 0 (host:port)"."""

    stub: PartyStub
    name: str


@dataclass(frozen=True)
class Half:
    """What one party returned: its share of the answer, and its account."""

    words: Words = field(repr=False)
    cost: Cost


def exchange(
    parties: Sequence[Party], question: Question, query: Words, timeout_s: float
) -> tuple[Half, Half]:
    """Both parties' halves of the answer to `query`. Raises what a party refuses with.

    A failure at one party ends the call to the other one.
    """
    both = _Both(parties, question, split(query), timeout_s)
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
        question: Question,
        shares: tuple[Words, Words],
        timeout_s: float,
    ) -> None:
        self._parties, self._question, self._timeout_s = parties, question, timeout_s
        self._shares = shares
        self._calls = _Calls()
        self._ended = (threading.Event(), threading.Event())
        self._halves: dict[int, Half] = {}
        # In the order in which they came.
        self._errors: list[BaseException] = []

    def ask(self, index: int) -> None:
        """Make one of the calls, to its end; if it fails, the other one ends too."""
        party, share = self._parties[index], self._shares[index]
        try:
            self._halves[index] = _half(party, self._question, share, self._timeout_s, self._calls)
        except BaseException as error:
            self._errors.append(error)
            self._ended[index].set()
            if isinstance(error, Unreachable):
                # A party that lost the other says so at once; the other may be about to say why.
                self._ended[1 - index].wait(_REASON_S)
            self.cancel()
        else:
            self._ended[index].set()

    def cancel(self) -> None:
        """End both calls; nothing happens to one that is over."""
        self._calls.cancel()

    def result(self) -> tuple[Half, Half]:
        """Both halves, or the error that came first: that of a call given up is only its echo.

        Of two the one that names a cause: a party that lost the other one does not.
        """
        causes = [error for error in self._errors if not isinstance(error, Cancelled)]
        causes.sort(key=lambda error: isinstance(error, Unreachable))
        if failures := causes or self._errors:
            raise failures[0]
        return self._halves[0], self._halves[1]


class _Calls:
    """What can be cancelled. A refusal may come before the other call has begun."""

    def __init__(self) -> None:
        self._cancels: list[Callable[[], object]] = []
        self._over = threading.Event()

    def add(self, cancel: Callable[[], object]) -> None:
        """One more; cancelled at once if it comes too late."""
        self._cancels.append(cancel)
        if self._over.is_set():
            cancel()

    def cancel(self) -> None:
        """Cancel all, and those to come."""
        self._over.set()
        for cancel in list(self._cancels):
            cancel()


def _half(party: Party, question: Question, share: Words, timeout_s: float, calls: _Calls) -> Half:
    with calls_to(party.name):
        call = party.stub.Query(_requests(question, share), timeout=timeout_s)
        calls.add(call.cancel)
        header = next(call, pb.QueryResponse()).header
        received = b"".join(response.words for response in call)
    shape = codec.shape_from_wire(header.shape, party.name)
    if len(shape) != 2:
        raise ShareError(f"{party.name}: an answer has two dimensions, not {len(shape)}")
    return Half(from_bytes(received, shape), codec.cost_from_wire(header.cost))


def _requests(question: Question, share: Words) -> Iterator[pb.QueryRequest]:
    yield pb.QueryRequest(header=codec.question_to_wire(question))
    for piece in cut(to_bytes(share)):
        yield pb.QueryRequest(words=piece)
