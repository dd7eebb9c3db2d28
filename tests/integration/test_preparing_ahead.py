"""Bundles are made before the first query, used up by queries, and made again after any loss.

Nothing here sleeps: every wait asks a live server.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from parties.party.queries.unaudited import IN_A_ROW
from privedge.client.answers import Reply
from privedge.errors import Busy, Unreachable
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.upload import send
from tests.integration.asking import (
    PARTIES,
    clear_distances,
    client,
    pools,
    status,
    until,
    until_full,
)
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

BUNDLES = 2
OWNERS = 3


@contextmanager
def deployed(folder, rans, at_party1: str = "", **pool: Any) -> Iterator[Deployment]:
    """`at_party1`: its [pool] section, if it is another one."""
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    settings = {"pool": {"bundles": BUNDLES, "settle_s": 0.1, **pool}}
    deployment = Deployment(folder, cohorts, settings)
    if at_party1:
        file = deployment.config_file(Role.PARTY1)
        before, after = file.read_text().split("[pool]\n")
        rest = after[after.index("\n[") :]
        file.write_text(f"{before}[pool]\n{at_party1}\n{rest}")
    with deployment as running:
        for ran in rans[:OWNERS]:
            upload(running, ran)
        yield running


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("pool"), rans) as running:
        yield running


def upload(deployment: Deployment, ran) -> None:
    send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))


def asked(deployment: Deployment, images: np.ndarray) -> Reply:
    with client(deployment) as asking:
        return asking.identify(images, COHORT)


def owners(reply: Reply) -> list[str | None]:
    return [answer.owner for answer in reply.answers]


def nearest(rans, images: np.ndarray) -> list[str]:
    return [rans[row.argmin()].owner for row in clear_distances(rans, images)]


def on_a_bundle(reply: Reply) -> bool:
    spent = [cost.offline_s > 0 for cost in reply.costs]
    assert spent[0] == spent[1]
    return spent[0]


def test_the_pool_is_full_before_any_query_and_a_query_spends_one_bundle(
    deployment, rans, some_digits
):
    until_full(deployment, BUNDLES)
    assert status(deployment, Role.PARTY0).runs == 0
    images = some_digits.test_images[:1]
    reply = asked(deployment, images)
    assert owners(reply) == nearest(rans[:OWNERS], images)
    assert on_a_bundle(reply)
    until_full(deployment, BUNDLES)


def test_a_warm_pool_needs_no_dealer_and_outlives_its_loss(deployment, rans, some_digits):
    until_full(deployment, BUNDLES)
    deployment.processes[Role.DEALER].kill()
    deployment.processes[Role.DEALER].wait()
    for number in range(BUNDLES):
        images = some_digits.test_images[number : number + 1]
        reply = asked(deployment, images)
        assert on_a_bundle(reply)
        assert owners(reply) == nearest(rans[:OWNERS], images)
        # Refilling fails meanwhile, and takes nothing of what is left.
        left = {1: (BUNDLES - number - 1, BUNDLES)}
        until(lambda left=left: [pools(deployment, each) for each in PARTIES] == [left, left])
    deployment.start(Role.DEALER)
    deployment.wait_ready(Role.DEALER)
    until_full(deployment, BUNDLES)


@pytest.mark.parametrize("victim", PARTIES)
def test_after_kill_9_of_a_worker_both_fill_up_again(deployment, rans, some_digits, victim):
    until_full(deployment, BUNDLES)
    pid = status(deployment, victim).worker_pids[0]
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in status(deployment, victim).worker_pids)
    images = some_digits.test_images[:1]
    assert owners(asked(deployment, images)) == nearest(rans[:OWNERS], images)
    until_full(deployment, BUNDLES)
    reply = asked(deployment, images)
    assert on_a_bundle(reply)
    assert owners(reply) == nearest(rans[:OWNERS], images)


def test_another_batch_size_asked_once_is_prepared_from_then_on(deployment, rans, some_digits):
    images = some_digits.test_images[:3]
    first = asked(deployment, images)
    assert not on_a_bundle(first)
    until_full(deployment, BUNDLES, batch=3)
    second = asked(deployment, images)
    assert on_a_bundle(second)
    assert owners(first) == owners(second) == nearest(rans[:OWNERS], images)


def test_new_models_get_new_bundles(deployment, rans, some_digits):
    until_full(deployment, BUNDLES)
    asked(deployment, some_digits.test_images[:3])
    until_full(deployment, BUNDLES, batch=3)
    images = some_digits.test_images[:1]
    for party in PARTIES:
        assert sorted(pools(deployment, party)) == [1, 3]
    upload(deployment, rans[OWNERS])
    reply = asked(deployment, images)
    assert not on_a_bundle(reply)
    assert owners(reply) == nearest(rans[: OWNERS + 1], images)
    # What was asked of the models before is forgotten with them.
    want = {1: (BUNDLES, BUNDLES)}
    until(lambda: all(pools(deployment, party) == want for party in PARTIES))
    reply = asked(deployment, images)
    assert on_a_bundle(reply)
    assert owners(reply) == nearest(rans[: OWNERS + 1], images)


def test_parties_whose_settings_differ_prepare_what_both_can(tmp_path, rans, some_digits):
    """Party 0 leads; party 1 has little room, and less than that for large batches."""
    at_party1 = "bundles = 1\nmemory_mib = 1\nsettle_s = 0"
    with deployed(tmp_path, rans, at_party1, batches=[64, 1]) as running:
        until(lambda: pools(running, Role.PARTY0).get(1) == (BUNDLES, BUNDLES))
        for count in (1, 64):
            images = some_digits.test_images[:count]
            reply = asked(running, images)
            assert owners(reply) == nearest(rans[:OWNERS], images)
            assert on_a_bundle(reply) == (count == 1)


def unaudited(deployment: Deployment, party: Role) -> str:
    """What a party says of runs without an audited bundle; empty if nothing."""
    faults = status(deployment, party).faults
    return next((fault for fault in faults if fault.startswith("unaudited")), "")


def restarted(deployment: Deployment, pool: str, at_party1: str) -> None:
    """Both parties, with other lines in their sections [pool]."""
    for party, lines in zip(PARTIES, (pool, at_party1), strict=True):
        deployment.processes[party].terminate()
        deployment.processes[party].wait()
        file = deployment.config_file(party)
        before, after = file.read_text().split("[pool]\n")
        file.write_text(f"{before}[pool]\n{lines}\n{after[after.index('[') :]}")
        deployment.start(party)
    for party in PARTIES:
        deployment.wait_ready(party)


@pytest.mark.slow
def test_lots_that_always_fail_are_told_to_both_operators_and_may_be_refused(
    tmp_path, rans, some_digits
):
    """Party 1 lets no lot be used: it wants more of it opened than party 0 opens."""
    images, usual = some_digits.test_images[:1], f"bundles = {BUNDLES}\nsettle_s = 0.1"
    fails, refuses = f"{usual}\nopened = 0.9", 'unaudited = "refuse"'
    with deployed(tmp_path, rans, fails) as running:
        with client(running) as asking:
            for asked_before in range(IN_A_ROW):
                assert not any(unaudited(running, party) for party in PARTIES), asked_before
                reply = asking.identify(images, COHORT)
                assert owners(reply) == nearest(rans[:OWNERS], images) and not on_a_bundle(reply)
        # The causes are looked at every second.
        until(lambda: all(unaudited(running, party) for party in PARTIES))
        assert COHORT in unaudited(running, Role.PARTY0)
        # Operators who will not have it.
        restarted(running, f"{usual}\n{refuses}", f"{fails}\n{refuses}")
        for _ in range(3):
            with pytest.raises((Busy, Unreachable)):
                asked(running, images)
        assert all(status(running, party).runs == 0 for party in PARTIES)
        # With lots that can be opened there are answers again, and nothing to tell.
        restarted(running, f"{usual}\n{refuses}", f"{usual}\n{refuses}")
        until_full(running, BUNDLES)
        reply = asked(running, images)
        assert owners(reply) == nearest(rans[:OWNERS], images) and on_a_bundle(reply)
        assert not any(unaudited(running, party) for party in PARTIES)


@pytest.mark.slow
def test_another_batch_size_is_refused_until_it_is_prepared_where_unaudited_runs_are(
    tmp_path, rans, some_digits
):
    images = some_digits.test_images[:3]
    with deployed(tmp_path, rans, unaudited="refuse") as running:
        until_full(running, BUNDLES)
        # Asked again by itself, as the refusal says.
        with client(running, retries=20) as asking:
            reply = asking.identify(images, COHORT)
        assert owners(reply) == nearest(rans[:OWNERS], images) and on_a_bundle(reply)


def test_a_party_that_prepares_nothing_leaves_all_queries_live(tmp_path, rans, some_digits):
    images = some_digits.test_images[:1]
    with deployed(tmp_path, rans, "bundles = 0") as running:
        for _ in range(2):
            reply = asked(running, images)
            assert owners(reply) == nearest(rans[:OWNERS], images)
            assert not on_a_bundle(reply)
        assert pools(running, Role.PARTY1) == {}
