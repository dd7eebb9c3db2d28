"""Ask two parties whose image this is: image -> shares -> both parties -> answer.

    from privedge.client.query import Client

    with Client.from_file(Path("privedge.toml")) as client:
        reply = client.identify([Path("digit.png")], cohort="digits")
        print(reply.answers[0].owner or "unknown")

Sees the client's own images and answers. Each party gets one share, which alone is uniformly
random, and returns one share of the answer; only here are the two added up.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from privedge.client.answers import Answer, read_answers
from privedge.config import ClientConfig, load
from privedge.errors import (
    ImageError,
    ManifestMismatch,
    NotReady,
    PrivEdgeError,
    ShareError,
    SnapshotChanged,
    UnknownModel,
    Unreachable,
)
from privedge.identity.roles import Role
from privedge.ran import features
from privedge.ran.inputs import Pictures, given
from privedge.ran.spec import RanSpec
from privedge.rpc import codec
from privedge.rpc.channel import open_party, peer_name
from privedge.rpc.chunks import cut
from privedge.rpc.status import calls_to
from privedge.sharing.combine import combine
from privedge.sharing.cost import Cost
from privedge.sharing.fixed_point import encode
from privedge.sharing.question import MAX_IMAGES_OF_ONE_SUBJECT, Question, new_query_id
from privedge.sharing.ring import Words, from_bytes, to_bytes
from privedge.sharing.split import split
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc

# A cohort may change between asking what it is and asking the question.
_TRIES = 3
# How long the other party may take to say why a query failed, once one only knows that it did.
_REASON_S = 2.0


@dataclass(frozen=True)
class Cohort:
    """What both parties say a cohort is. `owners` is the order of the answer vector."""

    name: str
    spec: RanSpec
    margin: float
    owners: tuple[str, ...]
    snapshot_id: str
    max_batch: int
    mean_share: float = 0.0


@dataclass(frozen=True)
class Reply:
    """The answers to one batch, and what it cost: seconds and bytes of shares here (to and from
    both parties together), and each party's own account.
    """

    answers: tuple[Answer, ...]
    seconds: float
    costs: tuple[Cost, Cost]
    bytes_sent: int
    bytes_received: int

    def plus(self, other: "Reply") -> "Reply":
        """Both together, as one reply."""
        first, second = (a.plus(b) for a, b in zip(self.costs, other.costs, strict=True))
        return Reply(
            self.answers + other.answers,
            self.seconds + other.seconds,
            (first, second),
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
        )


@dataclass(frozen=True)
class _Half:
    """What one party returned."""

    words: Words = field(repr=False)
    cost: Cost


class _Calls:
    """The calls of one question. A refusal may come before the other call has begun."""

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


class Client:
    """A connection to both parties, for one thread. Use as a context manager, or call `close`."""

    def __init__(self, config: ClientConfig, *, encoder: Path | None = None) -> None:
        """`encoder` is the public ONNX file, for cohorts whose feature map is one."""
        self._encoder = encoder
        self._timeout_s = config.rpc_timeout_s
        self._cohorts: dict[str, Cohort] = {}
        parties = (Role.PARTY0, Role.PARTY1)
        self._channels = [open_party(config, party) for party in parties]
        self._stubs = [party_pb2_grpc.PartyStub(channel) for channel in self._channels]
        addresses = (config.party0, config.party1)
        self._names = [peer_name(*pair) for pair in zip(parties, addresses, strict=True)]
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="party")

    @staticmethod
    def from_file(path: Path, *, encoder: Path | None = None) -> "Client":
        """As a configuration file says. Raises ConfigError or CertificateError."""
        return Client(load(ClientConfig, path), encoder=encoder)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop both connections."""
        self._threads.shutdown()
        for channel in self._channels:
            channel.close()

    def describe(self, cohort: str) -> Cohort:
        """Ask both parties what the cohort is. Raises ManifestMismatch while they differ."""
        request = pb.DescribeCohortRequest(cohort=cohort)
        said = []
        for stub, name in zip(self._stubs, self._names, strict=True):
            with calls_to(name):
                said.append(stub.DescribeCohort(request, timeout=self._timeout_s))
        if said[0] != said[1]:
            raise ManifestMismatch(
                f"cohort {cohort}: the parties describe it differently; try again in a moment, "
                "and tell both operators if it stays so"
            )
        if not said[0].owners:
            raise NotReady(f"cohort {cohort}: no active model yet; upload one first")
        self._cohorts[cohort] = Cohort(
            name=cohort,
            spec=RanSpec.from_json(said[0].spec_json),
            margin=said[0].margin,
            owners=tuple(said[0].owners),
            snapshot_id=said[0].snapshot_id,
            max_batch=max(1, said[0].max_batch),
            mean_share=said[0].mean_share,
        )
        return self._cohorts[cohort]

    def identify(self, images: Pictures, cohort: str, *, one_subject: bool = False) -> Reply:
        """Whose images are these?

        images: files (PNG or JPEG), or uint8 (n, H, W) or (n, H, W, 3); any size, they are brought
        to the cohort's. One answer an image, or with `one_subject` one for all. Raises ImageError,
        RangeError and whatever the parties refuse; IntegrityError if their shares do not add up
        to an answer.
        """
        return self._ask(images, cohort, verify_owner=None, one_subject=one_subject)

    def verify(
        self, images: Pictures, owner: str, cohort: str, *, one_subject: bool = False
    ) -> Reply:
        """Are these images of `owner`? One answer an image: the owner, or None for no.

        The owner's model must be best in the cohort and pass its rule. Raises as `identify` does,
        and UnknownModel if the cohort has no such owner.
        """
        return self._ask(images, cohort, verify_owner=owner, one_subject=one_subject)

    def _ask(
        self, images: Pictures, name: str, *, verify_owner: str | None, one_subject: bool
    ) -> Reply:
        for left in reversed(range(_TRIES)):
            cohort = self._cohorts.get(name) or self.describe(name)
            if verify_owner is not None and verify_owner not in cohort.owners:
                raise UnknownModel(f"cohort {name}: no owner {verify_owner} in it")
            query = encode(self._features(cohort.spec, images), what="query")
            try:
                return self._in_batches(cohort, query, verify_owner, one_subject)
            except SnapshotChanged:
                del self._cohorts[name]
                if not left:
                    raise
        raise AssertionError("unreachable")

    def _in_batches(
        self, cohort: Cohort, query: Words, verify_owner: str | None, one_subject: bool
    ) -> Reply:
        """As few questions as the parties' limit allows; images of one subject stay together."""
        if one_subject and len(query) > MAX_IMAGES_OF_ONE_SUBJECT:
            raise ImageError(
                f"{len(query)} images of one subject: at most {MAX_IMAGES_OF_ONE_SUBJECT} work"
            )
        size = len(query) if one_subject else cohort.max_batch
        replies = []
        for start in range(0, len(query), size):
            part = query[start : start + size]
            question = Question(
                query_id=new_query_id(),
                cohort=cohort.name,
                snapshot_id=cohort.snapshot_id,
                shape=part.shape,
                verify_owner=verify_owner,
                one_subject=one_subject,
            )
            replies.append(self._exchange(question, part, cohort.owners))
        return reduce(Reply.plus, replies)

    def _features(self, spec: RanSpec, images: Pictures) -> npt.NDArray[np.float32]:
        return features.extract(spec, given(images, spec.image), encoder=self._encoder)

    def _exchange(self, question: Question, query: Words, owners: tuple[str, ...]) -> Reply:
        """Send both halves at once, wait for both, add the answers up."""
        started = perf_counter()
        calls = _Calls()
        halves = [
            self._threads.submit(self._half, party, question, share, calls)
            for party, share in enumerate(split(query))
        ]
        done, unfinished = wait(halves, return_when=FIRST_EXCEPTION)
        if any(isinstance(half.exception(), Unreachable) for half in done):
            # A party that lost the other says so at once; the other may be about to say why.
            _, unfinished = wait(halves, timeout=_REASON_S)
        if unfinished:
            calls.cancel()
        first, second = _results(halves)
        seconds = perf_counter() - started
        answers = read_answers(combine(first.words, second.words), owners, question)
        sent, received = 2 * query.nbytes, first.words.nbytes + second.words.nbytes
        return Reply(answers, seconds, (first.cost, second.cost), sent, received)

    def _half(self, party: int, question: Question, share: Words, calls: _Calls) -> _Half:
        with calls_to(self._names[party]):
            call = self._stubs[party].Query(_requests(question, share), timeout=self._timeout_s)
            calls.add(call.cancel)
            header = next(call, pb.QueryResponse()).header
            received = b"".join(response.words for response in call)
        shape = codec.shape_from_wire(header.shape, self._names[party])
        if len(shape) != 2:
            raise ShareError(
                f"{self._names[party]}: an answer has two dimensions, not {len(shape)}"
            )
        return _Half(from_bytes(received, shape), codec.cost_from_wire(header.cost))


def _requests(question: Question, share: Words) -> Iterator[pb.QueryRequest]:
    yield pb.QueryRequest(header=codec.question_to_wire(question))
    for piece in cut(to_bytes(share)):
        yield pb.QueryRequest(words=piece)


def _results(halves: Sequence[Future[_Half]]) -> tuple[_Half, _Half]:
    """Both results, or the error that came first: the other party's is only its echo.

    Of two that came together the one that names a cause: a party that lost the other one does not.
    """
    errors = [half.exception() for half in halves if half.done()]
    errors.sort(key=lambda error: isinstance(error, Unreachable))
    for error in errors:
        if isinstance(error, PrivEdgeError) and "cancelled" not in str(error):
            raise error
    return halves[0].result(), halves[1].result()
