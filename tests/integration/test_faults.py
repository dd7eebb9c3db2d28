"""Killed and frozen processes: one clear error, no wrong answer, and the next query works.

Nothing here sleeps. A worker is frozen (SIGSTOP), so a query stays in flight. The other party's
status says when the query runs; then a process is killed. The client's deadline is a minute, so an
Unreachable proves that the loss itself was noticed.
"""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from privedge.client.answers import Reply
from privedge.errors import DeadlineExceeded, PrivEdgeError, Unreachable
from privedge.identity.roles import Role
from privedge.local.deployment import Deployment
from privedge.rpc import codec
from privedge.sharing.question import Question, new_query_id
from privedge.wire import party_pb2 as pb
from tests.integration.asking import PARTIES, client, status, stub
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

PATIENCE = 5000


@pytest.fixture(scope="module")
def deployment(live_deployment: Deployment) -> Deployment:
    """Randomness is dealt while a query runs, so that the dealer has a part in every fault."""
    return live_deployment


def worker(deployment: Deployment, party: Role) -> psutil.Process:
    return psutil.Process(status(deployment, party).worker_pids[0])


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    """The process does not run inside the block; it may be killed there."""
    process.suspend()
    try:
        yield
    finally:
        if process.is_running():
            process.resume()


@contextmanager
def query_in_flight(deployment: Deployment, image: np.ndarray) -> Iterator["Future[Reply]"]:
    """A query that party 0's status counts as running."""
    with ThreadPoolExecutor(1) as thread, client(deployment) as asking:
        future = thread.submit(asking.identify, image, COHORT)
        until(lambda: all(status(deployment, party).queries_running for party in PARTIES))
        yield future


def until(condition: Callable[[], bool]) -> None:
    """Ask until it is so; every asking is a call to a live server."""
    for _ in range(PATIENCE):
        if condition():
            return
    pytest.fail("it did not come to be")


def answers(deployment: Deployment, image: np.ndarray) -> int:
    """Ask again: works as soon as whatever was killed is back."""
    with client(deployment) as asking:
        return len(asking.identify(image, COHORT).answers)


@pytest.mark.parametrize("victim", PARTIES)
def test_c24_c25_a_killed_worker_ends_its_query_as_unavailable_and_the_next_one_works(
    deployment, one_image, victim
):
    other = PARTIES[1 - PARTIES.index(victim)]
    killed = worker(deployment, victim)
    with frozen(worker(deployment, other)), query_in_flight(deployment, one_image) as query:
        killed.kill()
        assert isinstance(query.exception(timeout=30), Unreachable)
    assert answers(deployment, one_image) == 1
    assert worker(deployment, victim).pid != killed.pid


def test_a_worker_killed_between_queries_is_replaced(deployment, one_image):
    for party in PARTIES:
        pid = worker(deployment, party).pid
        os.kill(pid, signal.SIGKILL)
        until(lambda party=party, pid=pid: pid not in status(deployment, party).worker_pids)
    assert answers(deployment, one_image) == 1


def test_c26_a_frozen_worker_costs_a_query_its_deadline_not_more(deployment, one_image):
    with (
        frozen(worker(deployment, Role.PARTY1)),
        client(deployment, rpc_timeout_s=3) as asking,
        pytest.raises((DeadlineExceeded, Unreachable)),
    ):
        asking.identify(one_image, COHORT)
    assert answers(deployment, one_image) == 1


def test_c30_c32_without_the_dealer_queries_fail_and_work_again_when_it_is_back(
    deployment, one_image
):
    deployment.processes[Role.DEALER].kill()
    deployment.processes[Role.DEALER].wait()
    with client(deployment) as asking, pytest.raises(Unreachable):
        asking.identify(one_image, COHORT)
    deployment.start(Role.DEALER)
    deployment.wait_ready(Role.DEALER)
    assert answers(deployment, one_image) == 1


def test_c31_a_dealer_that_dies_during_a_query_ends_it_as_unavailable(deployment, one_image):
    with frozen(worker(deployment, Role.PARTY1)), query_in_flight(deployment, one_image) as query:
        deployment.processes[Role.DEALER].kill()
        deployment.processes[Role.DEALER].wait()
        worker(deployment, Role.PARTY1).resume()
        assert isinstance(query.exception(timeout=30), PrivEdgeError)
    deployment.start(Role.DEALER)
    deployment.wait_ready(Role.DEALER)
    assert answers(deployment, one_image) == 1


@pytest.mark.parametrize("victim", PARTIES)
def test_c24_c25_a_party_killed_and_started_again_still_has_every_model(
    deployment, one_image, victim
):
    models = status(deployment, victim).models_active
    pids = list(status(deployment, victim).worker_pids)
    deployment.processes[victim].kill()
    deployment.processes[victim].wait()
    deployment.start(victim)
    deployment.wait_ready(victim)
    assert status(deployment, victim).models_active == models == 10
    assert answers(deployment, one_image) == 1
    assert not any(psutil.pid_exists(pid) and alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_c42_c43_a_client_that_leaves_frees_both_workers(deployment, one_image):
    stopped = worker(deployment, Role.PARTY1)
    with frozen(stopped), client(deployment, rpc_timeout_s=2) as asking:
        with pytest.raises((DeadlineExceeded, Unreachable)):
            asking.identify(one_image, COHORT)
        until(lambda: not any(status(deployment, party).queries_running for party in PARTIES))
    assert answers(deployment, one_image) == 1


def test_c42_queries_whose_clients_left_while_they_waited_take_no_worker(deployment, one_image):
    with (
        frozen(worker(deployment, Role.PARTY1)),
        query_in_flight(deployment, one_image) as query,
    ):
        for _ in range(3):
            leave_in_line(deployment)
        worker(deployment, Role.PARTY1).resume()
        assert len(query.result(timeout=30).answers) == 1
    # An order for a query that is not there keeps the only worker for ten seconds.
    with client(deployment, rpc_timeout_s=9) as asking:
        assert len(asking.identify(one_image, COHORT).answers) == 1


def leave_in_line(deployment: Deployment) -> None:
    """Send party 0 its half of a query, and leave once it has all of it."""
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    shape = (1, *cohort.spec.input_shape)
    question = Question(new_query_id(), COHORT, cohort.snapshot_id, shape)
    header = pb.QueryRequest(header=codec.question_to_wire(question))
    words = pb.QueryRequest(words=bytes(8 * question.words))
    before = status(deployment, Role.PARTY0).query_bytes
    call = stub(deployment, Role.PARTY0).Query(iter([header, words]), timeout=60)
    until(lambda: status(deployment, Role.PARTY0).query_bytes > before)
    call.cancel()


def test_c51_sigterm_ends_every_process_in_good_order(deployment):
    processes = {server: process for server, process in deployment.processes.items()}
    children = [psutil.Process(p.pid).children(recursive=True) for p in processes.values()]
    for process in processes.values():
        os.kill(process.pid, signal.SIGTERM)
    assert [process.wait(30) for process in processes.values()] == [0, 0, 0]
    _, alive_still = psutil.wait_procs([c for family in children for c in family], timeout=30)
    assert alive_still == []
