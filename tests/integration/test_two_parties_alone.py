"""Two parties as processes, and no dealer anywhere: queries over mutual TLS."""

import signal
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.checkpoint import Ran
from privedge.user.upload import send
from privedge_lab.demo import digits
from tests.integration.asking import clear_distances, client
from tests.integration.conftest import COHORT, MARGIN
from tests.integration.test_private_queries import expected_answers

pytestmark = pytest.mark.mpc

_OWNERS = 3


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, rans: list[Ran]) -> Iterator[Deployment]:
    cohort = CohortSetting(COHORT, "subspace32", margin=MARGIN, components=16)
    folder = tmp_path_factory.mktemp("alone")
    with Deployment(folder, [cohort], {"randomness": "two-party"}) as running:
        for ran in rans[:_OWNERS]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


def _assert_right(alone: Deployment, rans: list[Ran], images: np.ndarray) -> None:
    expected, sure = expected_answers(clear_distances(rans[:_OWNERS], images))
    with client(alone) as asking:
        got = [answer.owner for answer in asking.identify(images, COHORT).answers]
    assert sure.any()
    assert [a for a, b in zip(got, sure, strict=True) if b] == [
        a for a, b in zip(expected, sure, strict=True) if b
    ]


def test_queries_are_answered_by_two_processes_and_nobody_else(
    alone: Deployment, rans: list[Ran], some_digits: digits.Digits
) -> None:
    assert set(alone.processes) == {Role.PARTY0, Role.PARTY1}
    # The first query makes the pairing, the second finds it.
    _assert_right(alone, rans, some_digits.test_images[:4])
    _assert_right(alone, rans, some_digits.test_images[4:6])


@pytest.mark.slow
@pytest.mark.parametrize("server", [Role.PARTY0, Role.PARTY1])
def test_a_worker_that_dies_takes_its_pairing_with_it_and_the_next_query_is_right(
    alone: Deployment, rans: list[Ran], some_digits: digits.Digits, server: Role
) -> None:
    _assert_right(alone, rans, some_digits.test_images[:2])
    (worker,) = psutil.Process(alone.processes[server].pid).children()
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    alone.wait_ready(server)
    _assert_right(alone, rans, some_digits.test_images[2:4])
