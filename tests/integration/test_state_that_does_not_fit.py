"""Real servers on wrong, empty and older state: refused in one line, nothing lost, right again.

Each test takes something away from one party, and then puts it back.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from privedge.errors import ManifestMismatch, PrivEdgeError, TermsDiffer
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.models import delete
from privedge.user.upload import send
from tests.integration.asking import PARTIES, client, config, status, until
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    settings = {"pool": {"bundles": 0}}
    with Deployment(tmp_path_factory.mktemp("state"), cohorts, settings) as running:
        for ran in rans[:3]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


@pytest.fixture(scope="module")
def pictures(some_digits) -> np.ndarray:
    """Some of each digit, so that a wrong label would show."""
    chosen = np.isin(some_digits.test_labels, (0, 1, 2))
    return some_digits.test_images[chosen][:12]


def labels(deployment: Deployment, pictures: np.ndarray) -> list[str | None]:
    with client(deployment) as asking:
        return [answer.owner for answer in asking.identify(pictures, COHORT).answers]


def labels_at_last(deployment: Deployment, pictures: np.ndarray) -> list[str | None]:
    """Ask until there is an answer; until then every query is refused."""
    found: list[list[str | None]] = []

    def is_answered() -> bool:
        try:
            found.append(labels(deployment, pictures))
        except PrivEdgeError:
            return False
        return True

    until(is_answered)
    return found[0]


def state(deployment: Deployment, party: Role) -> Path:
    return deployment.folder / "state" / party


def shares(deployment: Deployment, party: Role) -> list[bytes]:
    """Of a party, in the folder or in the trash."""
    return sorted(path.read_bytes() for path in state(deployment, party).glob("*/*.words"))


def command(deployment: Deployment, party: Role, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m parties WORDS --config FILE` to its end."""
    line = [sys.executable, "-m", "parties", *words]
    file = ["--config", str(deployment.config_file(party))]
    return subprocess.run([*line, *file], capture_output=True, text=True, timeout=60)


def refused(deployment: Deployment, party: Role) -> str:
    """The one line with which a party does not start."""
    done = command(deployment, party, "party")
    assert (done.returncode, done.stdout) == (os.EX_CONFIG, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("privedge party: ")
    return line


@contextmanager
def stopped(deployment: Deployment, party: Role) -> Iterator[None]:
    deployment.processes[party].terminate()
    deployment.processes[party].wait(30)
    try:
        yield
    finally:
        deployment.start(party)
        deployment.wait_ready(party)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """What is at `path` is away inside the block, and back after it."""
    aside = path.with_name(f"{path.name}.right")
    path.rename(aside)
    try:
        yield path
    finally:
        for left in path.parent.glob(f"{path.name}*"):
            if left != aside:
                left.unlink()
        aside.rename(path)


OLDER = "UPDATE state_folder SET epoch = epoch - 1"
OTHER = f"UPDATE state_folder SET folder = '{'0' * 32}'"


def changed(registry: Path, how: str) -> Path:
    """A copy of a registry, changed."""
    made = Path(shutil.copy(registry, registry.parent.parent / "changed.sqlite"))
    with closing(sqlite3.connect(made)) as file:
        file.execute(how)
        file.commit()
    return made


@pytest.mark.parametrize("party", PARTIES)
def test_w18_w23_w25_a_party_does_not_start_on_what_does_not_fit_and_loses_nothing(
    deployment, pictures, party
):
    before, kept = labels(deployment, pictures), shares(deployment, party)
    assert len({*before}) == 3 and len(kept) == 3
    with stopped(deployment, party):
        registry = state(deployment, party) / "registry.sqlite"
        with replaced(registry):
            assert "it is empty" in refused(deployment, party)
        for how, says in ((OTHER, "another state folder"), (OLDER, "it is older")):
            made = changed(registry, how)
            with replaced(registry):
                shutil.copy(made, registry)
                assert says in refused(deployment, party)
        with replaced(registry):
            registry.write_bytes(b"\x5a" * 20_000)
            assert "damaged" in refused(deployment, party)
        with replaced(state(deployment, party)):
            copy_of_the_other = state(deployment, PARTIES[1 - PARTIES.index(party)])
            shutil.copytree(copy_of_the_other, state(deployment, party))
            theirs = shares(deployment, party)
            assert f"is party {1 - PARTIES.index(party)}'s" in refused(deployment, party)
            assert shares(deployment, party) == theirs
            shutil.rmtree(state(deployment, party))
        assert shares(deployment, party) == kept
    assert labels_at_last(deployment, pictures) == before
    assert shares(deployment, party) == kept


def test_w44_a_backup_is_made_beside_a_running_party_and_verified(deployment, tmp_path):
    made = str(tmp_path / "backup")
    for words in (
        ("backup", "--to", made),
        ("verify", "--backup", made),
        ("verify",),
    ):
        done = command(deployment, Role.PARTY1, *words)
        assert (done.returncode, done.stderr) == (0, "")
    share = min(Path(made).glob("shares/*"))
    share.write_bytes(share.read_bytes()[:-1])
    done = command(deployment, Role.PARTY1, "verify", "--backup", made)
    assert done.returncode == 1 and all(share.stem in line for line in done.stdout.splitlines())
    done = command(deployment, Role.PARTY0, "verify", "--backup", made)
    assert done.returncode == 1 and "a backup of party 1" in done.stdout


def test_c56_w24_a_second_process_on_a_copy_is_refused_and_told_by_whom(
    deployment, pictures, tmp_path
):
    before = labels(deployment, pictures)
    shutil.copytree(state(deployment, Role.PARTY0), tmp_path / "copy")
    own = deployment.config_file(Role.PARTY0).read_text()
    address, free = deployment.address(Role.PARTY0), "127.0.0.1:0"
    second = own.replace(f'listen = "{address}"', f'listen = "{free}"')
    second = second.replace('state = "state/party0"', f'state = "{tmp_path / "copy"}"')
    assert second.count(free) == 1 and str(tmp_path) in second
    (deployment.folder / "second.toml").write_text(second)
    line = [sys.executable, "-m", "parties", "party", "--config"]
    process = subprocess.Popen(
        [*line, str(deployment.folder / "second.toml")], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        leader = deployment.processes[Role.PARTY0].pid
        until_said = (said for said in process.stderr if "at work already" in said)
        assert f".{leader}." in next(until_said)
        assert [labels(deployment, pictures) for _ in range(3)] == [before] * 3
        assert not status(deployment, Role.PARTY1).differences
    finally:
        process.kill()
        process.communicate()


def test_w19_an_older_party_0_takes_no_share_from_party_1_until_an_operator_says_so(
    deployment, rans, pictures
):
    before = labels(deployment, pictures)
    with stopped(deployment, Role.PARTY0):
        backup = deployment.folder / "before"
        shutil.copytree(state(deployment, Role.PARTY0), backup)
    send(rans[2], COHORT, deployment.client_config(Identity(Role.OWNER, rans[2].owner)))
    until(lambda: labels_at_last(deployment, pictures) == before)
    kept = shares(deployment, Role.PARTY1)
    with stopped_and_restored(deployment, backup):
        assert "adopt --above N" in status(deployment, Role.PARTY0).differences[0]
        until(lambda: len(status(deployment, Role.PARTY1).differences) == 1)
        with pytest.raises((TermsDiffer, ManifestMismatch)):
            labels(deployment, pictures)
        assert shares(deployment, Role.PARTY1) == kept
    with stopped(deployment, Role.PARTY0):
        done = command(deployment, Role.PARTY0, "adopt", "--above", "1000", "--forget-spending")
        assert (done.returncode, done.stderr) == (0, "")
    assert labels_at_last(deployment, pictures) == before
    assert shares(deployment, Role.PARTY1) == kept


@contextmanager
def stopped_and_restored(deployment: Deployment, backup: Path) -> Iterator[None]:
    """Party 0 runs on a copy of an older folder, and does not serve."""
    deployment.processes[Role.PARTY0].terminate()
    deployment.processes[Role.PARTY0].wait(30)
    shutil.rmtree(state(deployment, Role.PARTY0))
    shutil.copytree(backup, state(deployment, Role.PARTY0))
    deployment.start(Role.PARTY0)

    def differs() -> bool:
        try:
            return bool(status(deployment, Role.PARTY0).differences)
        except Exception:  # its port is not open yet
            return False

    until(differs)
    yield


def test_what_an_owner_deletes_is_removed_from_both_at_once(deployment, rans, pictures):
    owner = Identity(Role.OWNER, rans[2].owner)
    held = [len(shares(deployment, party)) for party in PARTIES]
    model = send(rans[2], COHORT, config(deployment, owner)).model_id
    delete(model, config(deployment, owner))
    assert [len(shares(deployment, party)) for party in PARTIES] == held
    assert rans[2].owner not in labels_at_last(deployment, pictures)
