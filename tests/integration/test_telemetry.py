"""Histograms of scores in a running deployment: opened as sums with noise, of enough answers."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from privedge.client.query import Client
from privedge.errors import QualityError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.upload import send
from tests.integration.asking import PARTIES

pytestmark = pytest.mark.mpc

# Periods as short as these are for tests, and `parties check` says so.
SETTINGS = {
    "bins": 5,
    "min_queries": 4,
    "answers_per_client": 4,
    "epsilon": 10,
    "period_s": 4,
}
OWNERS = 3
TRIES = 200


@pytest.fixture(scope="module")
def counting(tmp_path_factory, rans) -> Iterator[Deployment]:
    cohorts = [
        CohortSetting("plain", "subspace32", margin=0.8, components=16),
        CohortSetting("counted", "subspace32", margin=0.8, components=16, telemetry=SETTINGS),
    ]
    with Deployment(tmp_path_factory.mktemp("telemetry"), cohorts) as running:
        for ran in rans[:OWNERS]:
            for cohort in cohorts:
                send(ran, cohort.name, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


def asking(deployment: Deployment, name: str) -> Client:
    return Client(deployment.client_config(Identity(Role.CLIENT, name)))


def show(deployment: Deployment, party: Role, *more: str) -> subprocess.CompletedProcess[str]:
    config = str(deployment.config_file(party))
    command = [sys.executable, "-m", "parties", "telemetry", "show", "--config", config, *more]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def shown(deployment: Deployment, party: Role) -> list[dict]:
    said = show(deployment, party, "--json")
    assert said.returncode == 0, said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_answers_are_the_same_and_cost_the_same_before_a_score_is_counted(counting, some_digits):
    images = some_digits.test_images[:20]
    with asking(counting, "ana") as client:
        for _ in range(2):  # the first one masks the weights
            plain, counted = (client.identify(images, name) for name in ("plain", "counted"))
    assert counted.answers == plain.answers
    for one, other in zip(plain.costs, counted.costs, strict=True):
        assert (one.rounds, one.bytes_to_peer) == (other.rounds, other.bytes_to_peer)


def test_both_operators_read_the_same_sum_of_a_period_and_no_more(counting, some_digits):
    images = some_digits.test_images[:6]
    folders = [counting.folder / "state" / str(party) / "telemetry" for party in PARTIES]
    with asking(counting, "ana") as ana, asking(counting, "ben") as ben:
        for _ in range(TRIES):
            ana.identify(images, "counted")
            ben.identify(images, "counted")
            if all(folder.exists() for folder in folders):
                break
    both = [shown(counting, party) for party in PARTIES]
    common = min(map(len, both))
    assert common and both[0][:common] == both[1][:common]
    for line in both[0]:
        # Of two clients four answers each count, however often they ask.
        assert 4 <= line["answers"] <= 8
        assert len(line["counts"]) == 5
        # Two draws of scale 0.8 for each of five bins: a sum so far off has a chance below 1e-9.
        assert abs(sum(line["counts"]) - line["answers"]) < 60
    assert [file.name for file in folders[0].iterdir()] == ["counted.jsonl"]


def test_an_operator_reads_it_as_a_table(counting):
    said = show(counting, Role.PARTY0, "--cohort", "counted")
    assert said.returncode == 0
    assert "epsilon 10 for each client" in said.stdout.splitlines()[0]
    assert said.stdout.splitlines()[2].startswith("0.000 - 0.200")
    none = show(counting, Role.PARTY1, "--cohort", "plain")
    assert none.returncode == 1 and "nothing was opened yet" in none.stderr


def test_the_check_hints_at_histograms_that_tell_more(counting):
    command = [sys.executable, "-m", "parties", "check", "--json", "--config"]
    config = str(counting.config_file(Role.PARTY1))
    said = subprocess.run([*command, config], capture_output=True, text=True, check=False)
    lines = [hint["line"] for hint in json.loads(said.stdout)["hints"]]
    assert [line.split(";")[0] for line in lines if line.startswith("telemetry")] == [
        "telemetry: cohort counted: min_queries is below 1000",
        "telemetry: cohort counted: epsilon is above 1",
        "telemetry: cohort counted: period_s is less than a day",
    ]


def test_logs_have_no_score_and_no_answer(counting):
    for server in PARTIES:
        for line in counting.log_file(server).read_text().splitlines():
            assert "score" not in line or "too few scores were counted" in line


def test_a_client_can_refuse_to_ask_about_poor_pictures(counting, some_digits):
    config = counting.client_config(Identity(Role.CLIENT, "ana"))
    with Client(config, quality="refuse") as client:
        client.identify(some_digits.test_images[:1], "plain")
        with pytest.raises(QualityError, match="picture 0 is too dark"):
            client.identify(some_digits.test_images[:1] // 8, "plain")
