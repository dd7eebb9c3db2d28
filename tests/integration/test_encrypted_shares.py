"""W-43, C-54, C-61: a deployment whose shares are encrypted, and whose keys rotate under load."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from test_damaged_shares import answered_soon, nearest, owners, share_of, state_of

from privedge.errors import Refused
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.upload import send
from tests.integration.asking import PARTIES, client, status, until
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

OWNERS = 3
ROTATIONS = 3


def commanded(deployment: Deployment, party: Role, *words: str) -> str:
    """`python -m parties WORDS --config FILE`, which must end well."""
    config = str(deployment.config_file(party))
    command = [sys.executable, "-m", "parties", *words, "--config", config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def give_keys(deployment: Deployment) -> None:
    """A key ring for each party, as its operator would make it."""
    for party in PARTIES:
        with deployment.config_file(party).open("a") as file:
            file.write(f'[at_rest]\nkey_file = "{party}.keys"\n')
        commanded(deployment, party, "keys", "create")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    settings = {"pool": {"bundles": 1, "settle_s": 0.1}, "disk": {"scrub_hours": 0.0005}}
    made = Deployment(tmp_path_factory.mktemp("encrypted"), cohorts, settings)
    give_keys(made)
    with made as running:
        for ran in rans[:OWNERS]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


def state(deployment: Deployment, party: Role) -> Path:
    return deployment.folder / "state" / party.value


def counts(listed: str) -> list[tuple[int, int]]:
    """Files and salts of each key that `keys list` names."""
    words = [line.replace(",", "").split() for line in listed.splitlines()]
    return [(int(line[1]), int(line[3])) for line in words]


def kill_workers(deployment: Deployment) -> None:
    """Whoever comes after them reads every share from the disk."""
    for party in PARTIES:
        pid = status(deployment, party).worker_pids[0]
        os.kill(pid, signal.SIGKILL)
        until(lambda party=party, pid=pid: pid not in status(deployment, party).worker_pids)


class Load:
    """Somebody who keeps asking, from another thread."""

    def __init__(self, deployment: Deployment, images, expected: list[str]) -> None:
        self.answered, self.wrong, self.failed = 0, 0, []
        self._deployment, self._images, self.expected = deployment, images, expected
        self._stop, self._more = threading.Event(), threading.Condition()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        with client(self._deployment, retries=4) as asking:
            while not self._stop.is_set():
                try:
                    reply = asking.identify(self._images, COHORT)
                except Refused as error:
                    self.failed.append(repr(error))
                    continue
                self.wrong += owners(reply) != self.expected
                with self._more:
                    self.answered += 1
                    self._more.notify_all()

    def wait_for(self, count: int) -> None:
        """Until so many more queries were answered."""
        with self._more:
            wanted = self.answered + count
            assert self._more.wait_for(lambda: self.answered >= wanted, timeout=60)


def test_c61_keys_rotate_under_load_and_no_query_fails(deployment, rans, some_digits):
    images = some_digits.test_images[:2]
    expected = nearest(rans[:OWNERS], images)
    with Load(deployment, images, expected) as load:
        load.wait_for(2)
        for _ in range(ROTATIONS):
            for party in PARTIES:
                commanded(deployment, party, "keys", "rotate")
            load.wait_for(2)
        new = rans[OWNERS]
        send(new, COHORT, deployment.client_config(Identity(Role.OWNER, new.owner)))
        load.expected = nearest(rans[: OWNERS + 1], images)
    assert load.failed == []
    assert load.wrong <= 1  # the one that was on its way when the new model joined
    for party in PARTIES:
        *older, newest = counts(commanded(deployment, party, "keys", "list"))
        assert older == [(0, 0)] * ROTATIONS
        # The folder's own mark is a file too.
        assert newest == (OWNERS + 2, OWNERS + 1)
    kill_workers(deployment)
    assert owners(answered_soon(deployment, images)) == load.expected


def test_t4_no_share_and_no_salt_lies_readable_in_either_folder(deployment):
    for party in PARTIES:
        for path in (state(deployment, party) / "shares").iterdir():
            assert path.read_bytes().startswith(b"PESHARE1")
        assert commanded(deployment, party, "verify")


@pytest.mark.parametrize("at", PARTIES)
def test_c54_ciphertext_of_another_model_leaves_out_one_model_and_the_others_answer(
    deployment, rans, some_digits, at
):
    images = some_digits.test_images[:2]
    victim, other = (share_of(deployment, at, ran.owner) for ran in rans[:2])
    kept = victim.read_bytes()
    victim.write_bytes(other.read_bytes())
    until(lambda: state_of(deployment, rans[0].owner, at) == "quarantined")
    assert owners(answered_soon(deployment, images)) == nearest(rans[1 : OWNERS + 1], images)
    victim.write_bytes(kept)
    until(lambda: not any(status(deployment, each).quarantined for each in PARTIES))
    assert owners(answered_soon(deployment, images)) == nearest(rans[: OWNERS + 1], images)


def test_t4_a_party_with_the_wrong_keys_does_not_start_and_says_so_in_one_line(deployment):
    party = Role.PARTY1
    ring = deployment.folder / f"{party}.keys"
    kept = ring.read_bytes()
    process = deployment.processes[party]
    process.terminate()
    process.wait()
    ring.write_bytes((deployment.folder / f"{Role.PARTY0}.keys").read_bytes())
    deployment.start(party)
    assert deployment.processes[party].wait() == os.EX_CONFIG
    assert "is not the key ring of" in deployment.last_words(party)
    ring.write_bytes(kept)
    deployment.start(party)
    with suppress(Refused):
        deployment.wait_ready(party)
    until(lambda: not status(deployment, Role.PARTY0).quarantined)
