"""Several clients at once: there are fewer runs than queries, and each client gets its own answer.

Nothing here sleeps. Queries wait together while a frozen worker delays the query before them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import psutil
import pytest

from privedge.client.query import Client
from privedge.errors import Busy
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran.narrow import word_bits
from privedge.rpc import codec
from privedge.sharing.question import Question, new_query_id
from privedge.sharing.ring import width
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import PARTIES, clear_distances, config, status, stub
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

CLIENTS = 8
LIMIT = 5


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    """Waits for others a little; a client may have a few queries at once."""
    settings = {"batching.delay_ms": 300, "limits.max_queries_per_client": LIMIT}
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    with Deployment(tmp_path_factory.mktemp("batching"), cohorts, settings) as running:
        for ran in rans:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


@contextmanager
def frozen_worker(deployment: Deployment) -> Iterator[None]:
    """Party 1's worker does not run inside the block, so no run ends there."""
    worker = psutil.Process(status(deployment, Role.PARTY1).worker_pids[0])
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


def until(condition: Callable[[], bool]) -> None:
    for _ in range(5000):
        if condition():
            return
    pytest.fail("it did not come to be")


def runs(deployment: Deployment) -> int:
    return status(deployment, Role.PARTY0).runs


def running(deployment: Deployment) -> list[int]:
    return [status(deployment, party).queries_running for party in PARTIES]


def received(deployment: Deployment) -> list[int]:
    return [status(deployment, party).query_bytes for party in PARTIES]


def someone(deployment: Deployment, name: str) -> Client:
    return Client(config(deployment, Identity(Role.CLIENT, name)))


def nearest(rans, images: np.ndarray) -> list[str]:
    return [f"digit-{row.argmin()}" for row in clear_distances(rans, images)]


def test_clients_who_ask_together_get_their_own_answers_in_fewer_runs(
    deployment, rans, some_digits
):
    images = some_digits.test_images[:CLIENTS]
    expected = nearest(rans, images)
    assert len(set(expected)) > 3  # a wrong row would show
    clients = [someone(deployment, f"client-{index}") for index in range(CLIENTS)]
    for asking in clients:
        asking.describe(COHORT)
    before, bytes_before = runs(deployment), received(deployment)
    spec = clients[0].describe(COHORT).spec
    size = width(word_bits(spec)) * int(np.prod(spec.input_shape))

    def ask(index: int) -> str | None:
        return clients[index].identify(images[index : index + 1], COHORT).answers[0].owner

    with ThreadPoolExecutor(CLIENTS) as threads:
        with frozen_worker(deployment):
            answers = [threads.submit(ask, index) for index in range(CLIENTS)]
            until(lambda: received(deployment) == [n + CLIENTS * size for n in bytes_before])
        assert [answer.result() for answer in answers] == expected
    assert 1 <= runs(deployment) - before < CLIENTS
    for asking in clients:
        asking.close()


def half(deployment: Deployment, party: Role, question: Question, who: str) -> grpc.Call:
    """One half by hand, so that its client can leave."""
    messages = [
        pb.QueryRequest(header=codec.question_to_wire(question)),
        pb.QueryRequest(words=bytes(8 * question.words)),
    ]
    return stub(deployment, party, Identity(Role.CLIENT, who)).Query(iter(messages), timeout=60)


def new_question(deployment: Deployment) -> Question:
    with someone(deployment, "asker") as asking:
        cohort = asking.describe(COHORT)
    return Question(new_query_id(), COHORT, cohort.snapshot_id, (1, *cohort.spec.input_shape))


def test_a_client_that_leaves_during_a_run_does_not_fail_the_other(deployment, rans, some_digits):
    image = some_digits.test_images[:1]
    question = new_question(deployment)
    with someone(deployment, "stays") as asking, ThreadPoolExecutor(1) as thread:
        asking.describe(COHORT)
        with frozen_worker(deployment):
            leaving = [half(deployment, party, question, "leaves") for party in PARTIES]
            answer = thread.submit(asking.identify, image, COHORT)
            until(lambda: running(deployment) == [2, 2])
            for call in leaving:
                call.cancel()
        assert [each.owner for each in answer.result().answers] == nearest(rans, image)


def test_a_client_who_asks_one_party_only_takes_nobodys_turn(deployment, one_image):
    bytes_before = received(deployment)[0]
    calls = [half(deployment, Role.PARTY0, new_question(deployment), "rude") for _ in range(3)]
    until(lambda: received(deployment)[0] == bytes_before + 3 * 8 * new_question(deployment).words)
    assert running(deployment) == [0, 0]
    with someone(deployment, "polite") as asking:
        assert len(asking.identify(one_image, COHORT).answers) == 1
    assert not any(call.done() for call in calls)
    for call in calls:
        call.cancel()


def test_a_client_with_too_many_queries_is_refused_and_others_are_not(deployment, one_image):
    bytes_before = received(deployment)[0]
    question = new_question(deployment)
    calls = [
        half(deployment, Role.PARTY0, new_question(deployment), "greedy") for _ in range(LIMIT)
    ]
    until(lambda: received(deployment)[0] == bytes_before + LIMIT * 8 * question.words)
    with someone(deployment, "greedy") as asking, pytest.raises(Busy):
        asking.identify(one_image, COHORT)
    with someone(deployment, "modest") as asking:
        assert len(asking.identify(one_image, COHORT).answers) == 1
    for call in calls:
        call.cancel()


def test_a_verify_between_others_is_answered_by_itself(deployment, rans, some_digits):
    image = some_digits.test_images[:1]
    (owner,) = nearest(rans, image)
    before = runs(deployment)
    with (
        someone(deployment, "one") as one,
        someone(deployment, "two") as two,
        ThreadPoolExecutor(2) as threads,
    ):
        with frozen_worker(deployment):
            found = threads.submit(one.identify, image, COHORT)
            verified = threads.submit(two.verify, image, owner, COHORT)
        assert found.result().answers[0].owner == owner
        assert verified.result().answers[0].owner == owner
    assert runs(deployment) == before + 2
