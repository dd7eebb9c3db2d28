"""Real parties with their registries in a real PostgreSQL server, which is killed and started."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event

import pytest
from grpc_health.v1.health_pb2 import HealthCheckResponse

from privedge.errors import Unreachable
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.models import listed
from privedge.user.upload import send
from tests.integration.asking import PARTIES, client, config, health, status, until
from tests.integration.conftest import COHORT
from tests.postgres_server import PASSWORD

pytestmark = pytest.mark.mpc

CAUSE = "privedge.v1.Party/registry"
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans, postgres):
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    settings = {"pool": {"bundles": 0}}
    made = Deployment(tmp_path_factory.mktemp("postgres"), cohorts, settings)
    for party in PARTIES:
        file = made.config_file(party)
        file.write_text(f'registry_url = "{postgres.new_database()}"\n{file.read_text()}')
    with made as running:
        for ran in rans[:2]:
            send(ran, COHORT, config(running, Identity(Role.OWNER, ran.owner)))
        yield running


@contextmanager
def asked_all_the_time(deployment, image):
    """The answers of a client that asks until the block ends; no question may fail.

    Yields a function that waits for further answers.
    """
    ended, labels = Event(), SimpleQueue()

    def asking():
        with client(deployment) as asks:
            while not ended.is_set():
                labels.put(asks.identify(image, COHORT).answers[0].owner)

    def further(count):
        while not labels.empty():
            labels.get()
        return [labels.get(timeout=60) for _ in range(count)]

    with ThreadPoolExecutor() as pool:
        asked = pool.submit(asking)
        try:
            yield further
        finally:
            ended.set()
        asked.result()


def is_away(deployment, party):
    """What an operator sees while the database is down."""
    until(lambda: health(deployment, party, CAUSE) == NOT_SERVING)
    assert health(deployment, party, "privedge.v1.Party") == SERVING
    faults = status(deployment, party).faults
    assert [each for each in faults if each.startswith("registry: the database is away")]


def test_w64_queries_go_on_while_the_database_is_down_and_uploads_are_unavailable(
    deployment, postgres, rans, some_digits
):
    owner = config(deployment, Identity(Role.OWNER, rans[2].owner))
    with asked_all_the_time(deployment, some_digits.test_images[:1]) as answers:
        before = answers(2)
        postgres.kill()
        try:
            for _ in range(2):
                with pytest.raises(Unreachable):
                    send(rans[2], COHORT, owner)
                for party in PARTIES:
                    is_away(deployment, party)
            assert {*answers(5)} == {*before} and len({*before}) == 1
        finally:
            postgres.start()
        for party in PARTIES:
            until(lambda party=party: health(deployment, party, CAUSE) == SERVING)
        assert {*answers(2)} == {*before}
    receipt = send(rans[2], COHORT, owner)
    for party in PARTIES:
        log = deployment.log_file(party).read_text()
        assert "the database is away" in log and "the database is back" in log
        assert PASSWORD not in log
        # Nothing is left of the uploads that were refused, in the folder and in the registry.
        shares = {path.stem for path in (deployment.folder / f"state/{party}/shares").iterdir()}
        assert len(shares) == 3 and receipt.model_id in shares
        assert [row.model_id for row in listed(owner, at=party)] == [receipt.model_id]


def test_w24_a_second_process_on_the_same_database_is_refused(deployment, tmp_path):
    for party in PARTIES:
        copy = tmp_path / party
        shutil.copytree(deployment.folder / f"state/{party}", copy)
        own = deployment.config_file(party).read_text()
        second = own.replace(f'state = "state/{party}"', f'state = "{copy}"')
        second = second.replace(deployment.address(party), "127.0.0.1:0")
        file = deployment.folder / f"second-{party}.toml"
        file.write_text(second)
        line = [sys.executable, "-m", "parties", "party", "--config", str(file)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert done.returncode == os.EX_CONFIG
        (said,) = done.stderr.splitlines()
        pid = deployment.processes[party].pid
        assert "another process" in said and f" {pid}) uses this database; stop it first" in said


def test_a_party_that_was_killed_starts_again_on_its_database(deployment, some_digits):
    image = some_digits.test_images[:1]
    with client(deployment) as asks:
        before = asks.identify(image, COHORT).answers[0].owner
    for party in PARTIES:
        deployment.processes[party].kill()
        deployment.processes[party].wait()
        deployment.start(party)
        deployment.wait_ready(party)
    until(lambda: all(not status(deployment, party).differences for party in PARTIES))
    with client(deployment, retries=20) as asks:
        assert asks.identify(image, COHORT).answers[0].owner == before
