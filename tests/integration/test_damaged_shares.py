"""W-20 and W-21: one damaged share leaves its model out, at both parties, and stops nobody else.

Real servers and real damage on disk. Nothing here sleeps: every wait asks a live server.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privedge.client.answers import Reply
from privedge.errors import DeadlineExceeded, Refused
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user import models
from privedge.user.upload import send
from tests.integration.asking import PARTIES, clear_distances, client, status, until
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

OWNERS = 3
# The deadline of a query is a minute. Nobody may wait for it.
HASTY_S = 30.0


@contextmanager
def deployed(folder: Path, rans, **disk: Any) -> Iterator[Deployment]:
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    settings = {"pool": {"bundles": 1, "settle_s": 0.1}, "disk": disk}
    with Deployment(folder, cohorts, settings) as running:
        for ran in rans[:OWNERS]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


@pytest.fixture(scope="module")
def scrubbed(tmp_path_factory, rans) -> Iterator[Deployment]:
    """Every share is read again within two seconds."""
    with deployed(tmp_path_factory.mktemp("scrubbed"), rans, scrub_hours=0.0005) as running:
        yield running


@pytest.fixture(scope="module")
def unscrubbed(tmp_path_factory, rans) -> Iterator[Deployment]:
    """Only workers find damage."""
    with deployed(tmp_path_factory.mktemp("unscrubbed"), rans, scrub_hours=0) as running:
        yield running


def flipped(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.write_bytes(raw)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def gone(path: Path) -> None:
    path.unlink()


def unreadable(path: Path) -> None:
    """Whoever runs the tests may read every file, but nobody a folder."""
    path.unlink()
    path.mkdir()


def share_of(deployment: Deployment, party: Role, owner: str) -> Path:
    config = deployment.client_config(Identity(Role.OWNER, owner))
    model = next(each for each in models.listed(config) if each.state == "active")
    return deployment.folder / "state" / party.value / "shares" / f"{model.model_id}.words"


def state_of(deployment: Deployment, owner: str, at: Role) -> str:
    config = deployment.client_config(Identity(Role.OWNER, owner))
    return models.listed(config, at=at)[0].state


def named(deployment: Deployment, model_id: str) -> bool:
    """Both operators are told which model it is."""
    return all(
        any(model_id in line for line in status(deployment, each).quarantined) for each in PARTIES
    )


def put_back(path: Path, kept: Path) -> None:
    if path.is_dir():
        path.rmdir()
    shutil.copy(kept, path)


def asked(deployment: Deployment, images: np.ndarray) -> Reply:
    with client(deployment, rpc_timeout_s=HASTY_S) as asking:
        return asking.identify(images, COHORT)


def owners(reply: Reply) -> list[str | None]:
    return [answer.owner for answer in reply.answers]


def nearest(rans, images: np.ndarray) -> list[str]:
    return [rans[row.argmin()].owner for row in clear_distances(rans, images)]


def answered_soon(deployment: Deployment, images: np.ndarray) -> Reply:
    """A query that meets the damage may be refused, but none waits for its deadline."""
    replies: list[Reply] = []

    def answers() -> bool:
        try:
            replies.append(asked(deployment, images))
        except DeadlineExceeded:
            raise
        except Refused:
            return False
        return True

    until(answers)
    return replies[0]


def check(
    deployment: Deployment,
    rans,
    images: np.ndarray,
    at: Role,
    harm: Callable[[Path], None],
    then: Callable[[], object],
    kept: Path,
) -> None:
    first, rest = rans[0], rans[1:OWNERS]
    path = share_of(deployment, at, first.owner)
    shutil.copy(path, kept)
    harm(path)
    then()
    until(lambda: named(deployment, path.stem))
    assert [state_of(deployment, first.owner, each) for each in PARTIES] == ["quarantined"] * 2
    assert status(deployment, Role.PARTY0).models_active == OWNERS - 1
    counted = f"quarantine: cohort {COHORT}: 1 of {OWNERS} models"
    until(lambda: all(counted in status(deployment, each).faults for each in PARTIES))
    assert owners(answered_soon(deployment, images)) == nearest(rest, images)
    assert path.stem in deployment.log_file(at).read_text()
    put_back(path, kept)
    until(lambda: not any(status(deployment, each).quarantined for each in PARTIES))
    assert owners(answered_soon(deployment, images)) == nearest(rans[:OWNERS], images)


@pytest.mark.parametrize(
    ("at", "harm"),
    [
        pytest.param(Role.PARTY0, flipped, id="flipped-party0"),
        pytest.param(Role.PARTY1, cut, id="cut-party1"),
        pytest.param(Role.PARTY0, gone, id="gone-party0"),
        pytest.param(Role.PARTY1, unreadable, id="unreadable-party1"),
    ],
)
def test_c54_w20_a_share_damaged_while_it_is_loaded_leaves_out_its_model_and_comes_back(
    scrubbed, rans, some_digits, tmp_path, at, harm
):
    images = some_digits.test_images[:3]
    check(scrubbed, rans, images, at, harm, lambda: None, tmp_path / "kept")


@pytest.mark.parametrize("at", PARTIES)
def test_w21_damage_that_a_rehearsal_finds_keeps_no_query_waiting(
    unscrubbed, rans, some_digits, tmp_path, at
):
    images = some_digits.test_images[:2]

    def worker_restarts() -> None:
        pid = status(unscrubbed, at).worker_pids[0]
        os.kill(pid, signal.SIGKILL)
        until(lambda: pid not in status(unscrubbed, at).worker_pids)
        answered_soon(unscrubbed, images)

    check(unscrubbed, rans, images, at, flipped, worker_restarts, tmp_path / "kept")


def test_w21_a_byte_that_flipped_while_its_party_was_away_keeps_no_query_of_any_cohort_waiting(
    tmp_path, rans, some_digits
):
    """With the pool as a party's file has it by default: it rehearses before anybody asks."""
    images, whole = some_digits.test_images[:2], "whole"
    cohorts = [CohortSetting(name, "subspace32", components=16) for name in (COHORT, whole)]
    with Deployment(tmp_path / "deployment", cohorts) as running:
        for ran in rans[:OWNERS]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        damaged = share_of(running, Role.PARTY0, rans[0].owner)
        for ran in rans[:OWNERS]:
            send(ran, whole, running.client_config(Identity(Role.OWNER, ran.owner)))
        running.processes[Role.PARTY0].terminate()
        running.processes[Role.PARTY0].wait()
        flipped(damaged)
        running.start(Role.PARTY0)
        running.wait_ready(Role.PARTY0)
        with client(running, rpc_timeout_s=HASTY_S) as asking:
            assert owners(asking.identify(images, whole)) == nearest(rans[:OWNERS], images)
        assert owners(answered_soon(running, images)) == nearest(rans[1:OWNERS], images)
        until(lambda: named(running, damaged.stem))
