"""One certificate, or none, cannot keep the servers from anybody else."""

import asyncio
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2

from privedge.config import TlsFiles
from privedge.errors import Unreachable
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import SERVERS, CohortSetting, Deployment
from privedge.rpc import codec
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.status import RETRY_AFTER
from privedge.rpc.tls import client_credentials
from privedge.sharing.question import Question, new_query_id
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import CLIENT, PARTIES, TRIES, client, health, status, stub
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

Code = grpc.StatusCode
WITHIN_S = 60
METHODS = sorted(ACCESS)
# More than any caller's places, in calls of each kind that the role may make.
ALLOWED, REFUSED = 40, 2
ON_ONE_CONNECTION = 100
# How a call may end that was begun and never went on.
LET_GO = {
    Code.CANCELLED,
    Code.PERMISSION_DENIED,
    Code.RESOURCE_EXHAUSTED,
    Code.UNIMPLEMENTED,
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    """Two owners, and a few places for queries."""
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    settings = {"limits": {"max_queries": 32, "max_queries_per_client": 16}}
    with Deployment(tmp_path_factory.mktemp("floods"), cohorts, settings) as running:
        for ran in rans[:2]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


@dataclass(frozen=True)
class Target:
    """A port, and whose certificate is there."""

    address: str
    server: Role


def targets(deployment: Deployment) -> list[Target]:
    worker = Target(f"127.0.0.1:{deployment.worker_port}", Role.PARTY1)
    return [*(Target(deployment.address(server), server) for server in SERVERS), worker]


def flooder(role: Role) -> Identity:
    return Identity(role, role.value if role.serves else "eve")


class Idle:
    """Calls that were begun and never go on. They are asyncio's, which need no threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._channels: list[grpc.aio.Channel] = []
        self._calls: list[grpc.aio.StreamStreamCall] = []

    def begin(self, deployment: Deployment, target: Target, who: Identity) -> None:
        """Every method of the table, by one certificate. Returns when the calls have begun."""
        methods = [
            method
            for method, roles in ACCESS.items()
            for _ in range(ALLOWED if who.role in roles else REFUSED)
        ]
        self._loop.run_until_complete(self._begin(deployment.tls(who), target, methods))

    async def _begin(self, files: TlsFiles, target: Target, methods: list[str]) -> None:
        options = [
            ("grpc.ssl_target_name_override", target.server.host),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        for start in range(0, len(methods), ON_ONE_CONNECTION):
            credentials = client_credentials(files, target.server)
            channel = grpc.aio.secure_channel(target.address, credentials, options=options)
            self._channels.append(channel)
            await channel.channel_ready()
            calls = [
                channel.stream_stream(method)()
                for method in methods[start : start + ON_ONE_CONNECTION]
            ]
            self._calls += calls
            await asyncio.gather(*(self._begun(call) for call in calls))

    @staticmethod
    async def _begun(call: grpc.aio.StreamStreamCall) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.wait_for_connection()

    def endings(self) -> set[grpc.StatusCode]:
        """Wait until the servers have let every call go."""

        async def codes() -> set[grpc.StatusCode]:
            return set(await asyncio.gather(*(call.code() for call in self._calls)))

        return self._loop.run_until_complete(codes())

    def close(self) -> None:
        async def all_channels() -> None:
            await asyncio.gather(*(channel.close() for channel in self._channels))

        self._loop.run_until_complete(all_channels())
        self._loop.close()


def answered(deployment: Deployment, image) -> None:
    """A query is answered as soon as the parties accept connections."""
    for _ in range(TRIES):
        with client(deployment) as asking, suppress(Unreachable):
            assert len(asking.identify(image, COHORT).answers) == 1
            return
    pytest.fail("no query was answered")


def all_is_well(deployment: Deployment, image) -> None:
    """A query, health and status are answered at the first try."""
    with client(deployment) as asking:
        assert len(asking.identify(image, COHORT).answers) == 1
    for server in SERVERS:
        assert health(deployment, server) == health_pb2.HealthCheckResponse.SERVING
    for party in PARTIES:
        assert status(deployment, party).release
    names = stub(deployment, Role.PARTY1, Identity(Role.OWNER, "ana"))
    assert names.ListCohorts(pb.ListCohortsRequest(), timeout=WITHIN_S).cohorts


def test_w13_idle_calls_of_every_method_and_role_keep_nobody_waiting_and_are_let_go(
    deployment, one_image
):
    with closing(Idle()) as calls:
        for target in targets(deployment):
            for role in Role:
                calls.begin(deployment, target, flooder(role))
        all_is_well(deployment, one_image)
        assert calls.endings() <= LET_GO
        all_is_well(deployment, one_image)


def test_w13_a_watch_by_anybody_leaves_places_for_checks(deployment):
    request = health_pb2.HealthCheckRequest().SerializeToString()
    path = "/grpc.health.v1.Health/"
    with ExitStack() as stack:
        for number in range(4):
            who = Identity(Role.CLIENT, f"watcher-{number}")
            address = deployment.address(Role.PARTY0)
            channel = open_channel(address, server=Role.PARTY0, tls=deployment.tls(who))
            stack.enter_context(closing(channel))
            watch = channel.unary_stream(f"{path}Watch")
            watches = [watch(request) for _ in range(4)]
            said = [health_pb2.HealthCheckResponse.FromString(next(each)) for each in watches]
            assert {each.status for each in said} == {health_pb2.HealthCheckResponse.SERVING}
            assert watch(request).code() is Code.RESOURCE_EXHAUSTED
        assert health(deployment, Role.PARTY0) == health_pb2.HealthCheckResponse.SERVING
        other = open_channel(address, server=Role.PARTY0, tls=deployment.tls(CLIENT))
        stack.enter_context(closing(other))
        assert other.unary_unary(f"{path}Check")(request, timeout=WITHIN_S)


def test_w14_silent_connections_are_closed_and_a_query_is_answered_meanwhile(deployment, one_image):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    parties = [psutil.Process(deployment.processes[party].pid) for party in PARTIES]
    few = 200
    before = [party.rlimit(psutil.RLIMIT_NOFILE) for party in parties]
    assert all(own_soft >= min(hard, 65_536) for own_soft, _ in before)
    with ExitStack() as stack:
        for party, limits in zip(parties, before, strict=True):
            party.rlimit(psutil.RLIMIT_NOFILE, (few, limits[1]))
            stack.callback(party.rlimit, psutil.RLIMIT_NOFILE, limits)
        silent = []
        for server in PARTIES:
            host, _, port = deployment.address(server).rpartition(":")
            for _ in range(2 * few):
                silent.append(stack.enter_context(socket.socket()))
                silent[-1].connect((host, int(port)))
                silent[-1].settimeout(WITHIN_S)
        answered(deployment, one_image)
        # Closed by the server; what it had not yet accepted, it accepts and closes then.
        assert {each.recv(1) for each in silent[: few // 2]} == {b""}


def test_w15_a_refusal_says_when_to_come_again_and_another_client_is_served(deployment, one_image):
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    shape = (1, *cohort.spec.input_shape)
    never = threading.Event()

    def half() -> Iterator[pb.QueryRequest]:
        question = Question(new_query_id(), COHORT, cohort.snapshot_id, shape)
        yield pb.QueryRequest(header=codec.question_to_wire(question))
        never.wait()

    greedy = stub(deployment, Role.PARTY0, Identity(Role.CLIENT, "greedy"))
    held = [greedy.Query(half()) for _ in range(16)]
    more = greedy.Query(half())
    assert more.code() is Code.RESOURCE_EXHAUSTED
    assert int(dict(more.trailing_metadata())[RETRY_AFTER]) > 0
    with client(deployment) as asking:
        assert len(asking.identify(one_image, COHORT).answers) == 1
    for call in held:
        call.cancel()
    never.set()


@pytest.mark.parametrize("words", [b"", None], ids=["empty", "a second header"])
def test_w16_a_query_that_goes_on_without_words_is_refused_at_once(deployment, words):
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    question = Question(new_query_id(), COHORT, cohort.snapshot_id, (1, *cohort.spec.input_shape))
    header = pb.QueryRequest(header=codec.question_to_wire(question))

    def endless() -> Iterator[pb.QueryRequest]:
        yield header
        while not over.is_set():
            yield header if words is None else pb.QueryRequest(words=words)

    over = threading.Event()
    call = stub(deployment, Role.PARTY0).Query(endless())
    assert call.code() is Code.INVALID_ARGUMENT
    over.set()


def test_w16_halves_of_one_id_by_two_clients_are_refused_to_both(deployment):
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    question = Question(new_query_id(), COHORT, cohort.snapshot_id, (1, *cohort.spec.input_shape))
    messages = [
        pb.QueryRequest(header=codec.question_to_wire(question)),
        pb.QueryRequest(words=bytes(8 * question.words)),
    ]
    mine = stub(deployment, Role.PARTY0).Query(iter(messages), timeout=WITHIN_S)
    eves = stub(deployment, Role.PARTY1, flooder(Role.CLIENT)).Query(
        iter(messages), timeout=WITHIN_S
    )
    assert {mine.code(), eves.code()} == {Code.FAILED_PRECONDITION}


def test_w17_threads_are_as_many_as_before_after_a_flood(deployment, one_image):
    """Ended when they are idle for 20 s; what is left is what the servers have of their own."""
    processes = [psutil.Process(deployment.processes[server].pid) for server in SERVERS]
    for _ in range(1_000_000):
        with client(deployment) as asking:
            asking.identify(one_image, COHORT)
        if all(process.num_threads() < 60 for process in processes):
            return
    pytest.fail("the threads of the flood are still there")
