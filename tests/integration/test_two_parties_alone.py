"""Two parties as processes, and no dealer anywhere: queries over mutual TLS."""

import signal
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from privedge.client.answers import Reply
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.checkpoint import Ran
from privedge.user.upload import send
from privedge_lab.demo import digits
from tests.integration.asking import clear_distances, client, until_full
from tests.integration.conftest import COHORT, MARGIN
from tests.integration.test_private_queries import expected_answers

pytestmark = pytest.mark.mpc

_OWNERS, _BUNDLES = 3, 2


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, rans: list[Ran]) -> Iterator[Deployment]:
    # New models are checked by the two parties too.
    cohort = CohortSetting(COHORT, "subspace32", margin=MARGIN, components=16, model_check={})
    folder = tmp_path_factory.mktemp("alone")
    settings = {"randomness": "two-party", "pool": {"bundles": _BUNDLES, "settle_s": 0.1}}
    with Deployment(folder, [cohort], settings) as running:
        for ran in rans[:_OWNERS]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


def _assert_right(alone: Deployment, rans: list[Ran], images: np.ndarray) -> Reply:
    expected, sure = expected_answers(clear_distances(rans[:_OWNERS], images))
    with client(alone) as asking:
        reply = asking.identify(images, COHORT)
    got = [answer.owner for answer in reply.answers]
    assert sure.any()
    assert [a for a, b in zip(got, sure, strict=True) if b] == [
        a for a, b in zip(expected, sure, strict=True) if b
    ]
    return reply


def _on_a_bundle(reply: Reply) -> bool:
    spent = [cost.offline_s > 0 for cost in reply.costs]
    assert spent[0] == spent[1]
    return spent[0]


def test_queries_are_answered_by_two_processes_and_nobody_else(
    alone: Deployment, rans: list[Ran], some_digits: digits.Digits
) -> None:
    assert set(alone.processes) == {Role.PARTY0, Role.PARTY1}
    # Nobody has asked for four images yet, so the first of these makes its tuples itself.
    assert not _on_a_bundle(_assert_right(alone, rans, some_digits.test_images[:4]))
    until_full(alone, _BUNDLES, batch=4)
    assert _on_a_bundle(_assert_right(alone, rans, some_digits.test_images[4:8]))


def test_bundles_are_made_while_nobody_asks_and_each_serves_one_query(
    alone: Deployment, rans: list[Ran], some_digits: digits.Digits
) -> None:
    until_full(alone, _BUNDLES)
    reply = _assert_right(alone, rans, some_digits.test_images[:1])
    assert _on_a_bundle(reply)
    assert all(cost.bytes_from_dealer > 0 for cost in reply.costs)
    until_full(alone, _BUNDLES)


@pytest.mark.slow
@pytest.mark.parametrize("server", [Role.PARTY0, Role.PARTY1])
@pytest.mark.parametrize("full", [True, False])
def test_a_worker_that_dies_takes_its_bundles_with_it_and_the_next_queries_are_right(
    alone: Deployment, rans: list[Ran], some_digits: digits.Digits, server: Role, full: bool
) -> None:
    """Killed with a full pool, and while the two make bundles again after that."""
    if full:
        until_full(alone, _BUNDLES)
    (worker,) = psutil.Process(alone.processes[server].pid).children()
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    alone.wait_ready(server)
    _assert_right(alone, rans, some_digits.test_images[2:4])
    until_full(alone, _BUNDLES)
    assert _on_a_bundle(_assert_right(alone, rans, some_digits.test_images[:1]))
