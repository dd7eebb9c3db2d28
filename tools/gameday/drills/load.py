"""Many clients at once, floods, and questions that no honest client asks."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import grpc

from privedge.errors import AlreadyExists, DeadlineExceeded, PrivEdgeError, Refused
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, SERVERS
from privedge.rpc import codec
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.chunks import cut
from privedge.rpc.status import calls_to
from privedge.sharing.question import Question, new_query_id
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub
from tools import floods
from tools.gameday.drill import drill, expect
from tools.gameday.service import CLIENT, COHORT, PARTIES, Service

_CLIENTS, _PATIENT_S = 100, 120
_ASKED_DURING_A_FLOOD = 10
_METADATA_BYTES = 20_000


@drill("C-36", "a query id is used again, for other shares")
def id_used_again(service: Service) -> str:
    """Both parties refuse it."""
    question = _question(service)
    _halves(service, question, question)
    errors = _halves(service, question, question)
    expect(all(isinstance(error, AlreadyExists) for error in errors), errors)
    return "AlreadyExists at both parties"


@drill("C-38", "a client sends its share to party 0 only")
def half_a_query(service: Service) -> str:
    """It takes nobody's turn, and ends with its deadline."""
    question = _question(service)
    with ThreadPoolExecutor(1) as thread:
        half = thread.submit(_half, service, Role.PARTY0, question, 3)
        service.ask()
        error = half.exception(30)
    expect(isinstance(error, DeadlineExceeded), error)
    return "DeadlineExceeded; another client is answered meanwhile"


@drill("C-39", "shares of two different pictures")
def two_pictures(service: Service) -> str:
    """Each share alone is random bytes; the parties cannot know that they do not fit."""
    ends = _halves(service, *[_question(service)] * 2)
    seen = {"an answer" if end is None else type(end).__name__ for end in ends}
    expect(all(end is None or isinstance(end, Refused) for end in ends), ends)
    return f"{', '.join(sorted(seen))} for that client alone"


@drill("C-44", "100 clients at once, each with an answer of its own")
def hundred_clients(service: Service) -> str:
    """No answer reaches another client: it would count as wrong."""

    def ask(number: int) -> str:
        who = Identity(Role.CLIENT, f"client-{number}")
        with service.client(who, within_s=_PATIENT_S, retries=4) as client:
            try:
                service.ask(client, service.question(number, 2))
            except PrivEdgeError as error:
                return type(error).__name__
        return "answered"

    with ThreadPoolExecutor(_CLIENTS) as threads:
        ends = Counter(threads.map(ask, range(_CLIENTS)))
    expect(set(ends) <= {"answered", "Busy"}, ends)
    return ", ".join(f"{count} {end}" for end, count in ends.items())


@drill("C-49", "bytes that are no message, to every method of every server")
def garbage(service: Service) -> str:
    """By an admin, an owner and a client."""
    codes: Counter[str] = Counter()
    for who in (ADMIN, CLIENT, Identity(Role.OWNER, "mallory")):
        for server in SERVERS:
            address = service.deployment.address(server)
            tls = service.deployment.tls(who)
            with open_channel(address, server=server, tls=tls) as channel:
                for method in sorted(ACCESS):
                    call = channel.stream_stream(method)(iter([os.urandom(200)]), timeout=20)
                    codes[call.code().name] += 1
    allowed = {"INVALID_ARGUMENT", "PERMISSION_DENIED", "UNIMPLEMENTED"}
    expect(set(codes) <= allowed, codes)
    return ", ".join(sorted(codes))


@drill("C-50", "metadata of 20 kB")
def large_metadata(service: Service) -> str:
    """It is refused before any servicer."""
    codes = set()
    for party in PARTIES:
        tls = service.deployment.tls(CLIENT)
        with open_channel(service.deployment.address(party), server=party, tls=tls) as channel:
            large = (("x-large", "x" * _METADATA_BYTES),)
            call = channel.stream_stream("/privedge.v1.Party/ListCohorts")
            codes.add(call(iter([b""]), timeout=20, metadata=large).code())
    expect(codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}, codes)
    return "RESOURCE_EXHAUSTED"


@drill("C-50", "1,200 silent connections to each party")
def silent_connections(service: Service) -> str:
    """A client is answered meanwhile."""
    return _flood(service, "silent")


@drill("C-50", "400 idle calls of every method at each server", short=False)
def idle_calls(service: Service) -> str:
    """A client is answered meanwhile."""
    return _flood(service, "idle-client")


@drill("C-50", "80 threads that ask without a pause", short=False)
def asking_flood(service: Service) -> str:
    """A client is answered meanwhile."""
    return _flood(service, "asking")


# --- Shared by several drills ---------------------------------------------------------------------


def _flood(service: Service, name: str) -> str:
    context = multiprocessing.get_context("spawn")
    begun, over = context.Event(), context.Event()
    aim = floods.aim(name, service.deployment)
    process = context.Process(target=floods.flood, args=(name, aim, begun, over))
    process.start()
    try:
        expect(begun.wait(60), "the flood did not begin")
        with service.client(within_s=_PATIENT_S, retries=4) as client:
            seconds = [service.ask(client).seconds for _ in range(_ASKED_DURING_A_FLOOD)]
    finally:
        over.set()
        process.join(120)
    expect(process.exitcode == 0, f"the flood ended with {process.exitcode}")
    return f"another client's {len(seconds)} queries are answered, in {max(seconds):.1f} s at most"


def _question(service: Service) -> Question:
    with service.client() as client:
        cohort = client.describe(COHORT)
    return Question(new_query_id(), COHORT, cohort.snapshot_id, (1, *cohort.spec.input_shape))


def _half(service: Service, party: Role, question: Question, within_s: float = 30) -> None:
    """Send one half by hand: random bytes."""
    raw = os.urandom(8 * question.words)
    messages = [pb.QueryRequest(header=codec.question_to_wire(question))]
    messages += [pb.QueryRequest(words=piece) for piece in cut(raw)]
    tls = service.deployment.tls(CLIENT)
    address = service.deployment.address(party)
    with open_channel(address, server=party, tls=tls) as channel, calls_to(party.label):
        list(PartyStub(channel).Query(iter(messages), timeout=within_s))


def _halves(service: Service, *questions: Question) -> Sequence[BaseException | None]:
    with ThreadPoolExecutor(2) as threads:
        halves = [
            threads.submit(_half, service, party, question)
            for party, question in zip(PARTIES, questions, strict=True)
        ]
        return [half.exception() for half in halves]
