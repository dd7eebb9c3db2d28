"""What serves, what says so, and what nobody loses while servers end, start, freeze and die.

Nothing here sleeps: a test waits until a live server, or the system, says what it waits for.
"""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2

from privedge.errors import Restarting
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.rpc import codec
from privedge.rpc.status import RETRY_AFTER, from_status
from privedge.sharing.question import Question, new_query_id
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import PARTIES, client, health, status, stub, until
from tests.integration.conftest import COHORT, MARGIN

pytestmark = pytest.mark.mpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
PARTY = "privedge.v1.Party"
CLIENTS = 20
SILENT_S = 3


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    """Running, with all ten models and spare workers."""
    cohorts = [CohortSetting(COHORT, "subspace32", margin=MARGIN, components=16)]
    settings = {"timeouts": {"worker_silent_s": SILENT_S}, "spare_workers": True}
    with Deployment(tmp_path_factory.mktemp("deployment"), cohorts, settings) as running:
        for ran in rans:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


# --- Starts and ends ------------------------------------------------------------------------------


def catches_sigterm(deployment: Deployment, server: Role) -> None:
    """Its first lines have run, and next to nothing else."""
    facts = Path(f"/proc/{deployment.processes[server].pid}/status")

    def caught() -> bool:
        line = next(line for line in facts.read_text().splitlines() if line.startswith("SigCgt:"))
        return bool(int(line.split()[1], 16) & 1 << (signal.SIGTERM - 1))

    until(caught)


def alive(deployment: Deployment, server: Role) -> None:
    assert health(deployment, server) == SERVING


def ready(deployment: Deployment, server: Role) -> None:
    deployment.wait_ready(server, cause="" if server is Role.DEALER else "worker")


@pytest.mark.parametrize(
    ("server", "moment"),
    [
        (Role.DEALER, catches_sigterm),
        (Role.DEALER, ready),
        (Role.PARTY0, catches_sigterm),
        (Role.PARTY1, alive),
        (Role.PARTY1, ready),
    ],
)
def test_w67_sigterm_ends_a_start_in_good_order_at_any_moment(tmp_path, server, moment):
    prepared = Deployment(tmp_path, [CohortSetting("digits", "subspace32")])
    prepared.start(server)
    try:
        moment(prepared, server)
        prepared.processes[server].terminate()
        assert prepared.processes[server].wait(60) == 0, prepared.log_file(server).read_text()
    finally:
        prepared.stop()


def test_w29_a_party_that_starts_refuses_queries_at_once_and_says_so(deployment, one_image):
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    ended(deployment, Role.PARTY1)
    deployment.start(Role.PARTY1)
    with frozen(first_child(deployment, Role.PARTY1)):
        assert health(deployment, Role.PARTY1) == SERVING  # alive
        until(lambda: health(deployment, Role.PARTY1, PARTY) == NOT_SERVING)
        until(lambda: any("worker: " in line for line in status(deployment, Role.PARTY1).faults))
        shape = (1, *cohort.spec.input_shape)
        question = Question(new_query_id(), COHORT, cohort.snapshot_id, shape)
        header = pb.QueryRequest(header=codec.question_to_wire(question))
        with pytest.raises(grpc.RpcError) as refused:
            next(stub(deployment, Role.PARTY1).Query(iter([header]), timeout=60))
        assert isinstance(from_status(refused.value, "party 1"), Restarting)
        assert RETRY_AFTER in dict(refused.value.trailing_metadata())
    until_ready(deployment)
    assert answers(deployment, one_image) == 1


def test_c51_no_query_is_lost_while_each_server_is_restarted_under_20_clients(
    deployment, one_image
):
    over = threading.Event()
    first = threading.Barrier(CLIENTS + 1)

    def ask() -> int:
        with client(deployment, retries=4, rpc_timeout_s=600) as asking:
            count = len(asking.identify(one_image, COHORT).answers)
            first.wait(300)
            while not over.is_set():
                count += len(asking.identify(one_image, COHORT).answers)
        return count

    with ThreadPoolExecutor(CLIENTS) as threads:
        counts = [threads.submit(ask) for _ in range(CLIENTS)]
        try:
            first.wait(300)
            for server in (Role.PARTY1, Role.DEALER, Role.PARTY0):
                ended(deployment, server)
                deployment.start(server)
                until_ready(deployment)
        finally:
            over.set()
        # Each of them asks until it is told not to.
        assert all(count.result(600) > 1 for count in counts)


# --- What is wrong, and what says so --------------------------------------------------------------


def test_w28_a_worker_that_falls_silent_is_killed_and_replaced(deployment, one_image):
    for party in PARTIES:
        pid = status(deployment, party).worker_pids[0]
        os.kill(pid, signal.SIGSTOP)
        until(lambda party=party, pid=pid: pid not in status(deployment, party).worker_pids)
        said = deployment.log_file(party).read_text()
        assert f"worker 0 has been silent for {SILENT_S} s; killing it" in said
        until_ready(deployment)
    assert answers(deployment, one_image) == 1


def test_w30_a_spare_takes_the_place_of_a_worker_that_dies(deployment, one_image):
    for party in PARTIES:
        parent = psutil.Process(deployment.processes[party].pid)
        until(lambda parent=parent: len(parent.children()) == 2)
        (pid,) = status(deployment, party).worker_pids
        (spare,) = {child.pid for child in parent.children()} - {pid}
        os.kill(pid, signal.SIGKILL)
        until(lambda party=party, spare=spare: status(deployment, party).worker_pids == [spare])
    assert answers(deployment, one_image) == 1


def test_c59_w27_what_a_party_misses_is_seen_in_its_health_and_gone_when_it_is_back(
    deployment, one_image
):
    until_ready(deployment)
    for server, named in ((Role.DEALER, "dealer"), (Role.PARTY1, "peer")):
        deployment.processes[server].kill()
        deployment.processes[server].wait()
        until_cause(deployment, Role.PARTY0, named, NOT_SERVING)
        assert any(line.startswith(named) for line in status(deployment, Role.PARTY0).faults)
        assert health(deployment, Role.PARTY0) == SERVING
        deployment.start(server)
        until_cause(deployment, Role.PARTY0, named, SERVING)
        until_ready(deployment)
    assert not status(deployment, Role.PARTY0).faults
    assert answers(deployment, one_image) == 1


# --- Helpers --------------------------------------------------------------------------------------


def ended(deployment: Deployment, server: Role) -> None:
    """Told to end, it does so in good order."""
    deployment.processes[server].terminate()
    assert deployment.processes[server].wait(60) == 0


def until_ready(deployment: Deployment) -> None:
    for server in (Role.DEALER, *PARTIES):
        deployment.wait_ready(server)


def until_cause(deployment: Deployment, party: Role, cause: str, wanted: int) -> None:
    until(lambda: health(deployment, party, f"{PARTY}/{cause}") == wanted)


def first_child(deployment: Deployment, party: Role) -> psutil.Process:
    """Once it runs what it is to run: until then its parent waits for it."""
    parent = psutil.Process(deployment.processes[party].pid)
    until(lambda: any("worker" in child.cmdline() for child in parent.children()))
    return parent.children()[0]


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def answers(deployment: Deployment, image: np.ndarray) -> int:
    with client(deployment) as asking:
        return len(asking.identify(image, COHORT).answers)
