"""Canaries in a real deployment: honest parties pass, and a party that changes answers does not."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

from privedge.client import query
from privedge.client.exchange import query_requests
from privedge.client.query import Client
from privedge.errors import ConfigError, IntegrityError, ManifestMismatch
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran import rivals
from privedge.sharing.fixed_point import SCALE
from privedge.sharing.question import Question, new_query_id
from privedge.user.checkpoint import Ran
from privedge.user.upload import send
from privedge_lab.evaluation.tampering import Made
from tests.integration.asking import CLIENT, PARTIES, client, config, stub

pytestmark = pytest.mark.mpc

MADE = Made(0)
COHORT, PLAIN = "made", "plain"
OWNERS = 4


def vectors(of: str, count: int) -> np.ndarray:
    rows = [MADE.asked(of).view(np.int64) / SCALE for _ in range(count)]
    return np.concatenate(rows)


def ran(number: int) -> Ran:
    parameters = {
        name: (words[number].view(np.int64) / SCALE).astype(np.float32)
        for name, words in MADE.parameters.items()
    }
    return Ran(MADE.spec, f"owner-{number}", parameters, {})


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[Deployment]:
    """The same four owners in two cohorts, of which one has public owners."""
    folder = tmp_path_factory.mktemp("canaries")
    rivals.write(folder / "rivals.npz", MADE.rivals, MADE.spec)
    setting = CohortSetting(
        COHORT, "vector", size=128, components=4, margin=0.7, rivals=str(folder / "rivals.npz")
    )
    cohorts = [replace(setting, public_owners=2), replace(setting, name=PLAIN)]
    with Deployment(folder, cohorts, {"pool": {"bundles": 0}}) as running:
        for cohort in cohorts:
            for number in range(OWNERS):
                owner = Identity(Role.OWNER, f"owner-{number}")
                send(ran(number), cohort.name, running.client_config(owner))
        yield running


def asks(deployed: Deployment, integrity: str, **changes: Path) -> Client:
    return Client(config(deployed).model_copy(update=changes), integrity=integrity)


def names(reply) -> list[str | None]:
    return [answer.owner for answer in reply.answers]


def test_the_description_has_the_public_owners_and_rows_only_on_demand(deployed):
    with client(deployed) as asking:
        described = asking.describe(COHORT)
        assert (described.rivals, described.public_owners) == (20, 2)
        assert described.rivals_sha256 == MADE.rivals.digest
        assert asking.describe(PLAIN).public_owners == 0


@pytest.mark.parametrize(("count", "rows"), [(0, 0), (1, 1), (3, 3), (7, 7)])
def test_answers_are_the_same_with_canaries(deployed, count, rows):
    own, others = vectors("owner", 1), vectors("stranger", 1)
    with asks(deployed, f"canaries:{count}") as asking:
        for given, name in ((own, "owner-0"), (others, None)):
            reply = asking.identify(given, COHORT)
            assert (names(reply), reply.canaries) == ([name], rows)


def test_a_large_batch_goes_in_several_queries_with_canaries_in_each(deployed):
    own, others = vectors("owner", 1), vectors("stranger", 1)
    given = np.concatenate([own, others] * 35)
    with asks(deployed, "canaries:3") as asking:
        reply = asking.identify(given, COHORT)
    # 61 and 3 rows in a query of 64; 9 and 7 in one of 16.
    assert names(reply) == ["owner-0", None] * 35 and reply.canaries == 10


def test_a_public_owner_is_unknown(deployed):
    with client(deployed) as asking:
        assert names(asking.identify(MADE.rivals.rows[:3], COHORT)) == [None] * 3
        together = MADE.rivals.rows[:1].repeat(2, 0)
        assert names(asking.identify(together, COHORT, one_subject=True)) == [None]


def test_verify_has_canaries_unless_the_client_says_otherwise(deployed):
    with client(deployed) as asking:
        for cohort in (COHORT, PLAIN):
            yes = asking.verify(vectors("owner", 1), "owner-0", cohort)
            assert (names(yes), yes.canaries) == (["owner-0"], 3)
            no = asking.verify(vectors("owner", 1), "owner-1", cohort)
            assert (names(no), no.canaries) == ([None], 3)
        together = asking.verify(vectors("owner", 2), "owner-0", COHORT, one_subject=True)
        assert (names(together), together.canaries) == (["owner-0"], 0)
    with asks(deployed, "none") as asking:
        assert asking.verify(vectors("owner", 1), "owner-0", COHORT).canaries == 0


def test_canaries_that_cannot_be_made_are_refused_before_anything_is_sent(deployed):
    with asks(deployed, "canaries:3") as asking:
        with pytest.raises(ConfigError, match="cohort plain has no public owners"):
            asking.identify(vectors("owner", 1), PLAIN)
        with pytest.raises(ConfigError, match="images of one subject"):
            asking.identify(vectors("owner", 2), COHORT, one_subject=True)


def test_a_party_that_changes_every_answer_is_noticed(deployed, monkeypatch, tmp_path):
    honest = query.exchange

    def changed(parties, asked, words):
        first, second = honest(parties, asked, words)
        words = second.words.copy()
        words[:, 0] += 1
        return first, replace(second, words=words)

    monkeypatch.setattr(query, "exchange", lambda *given: changed(*given))
    stranger = vectors("stranger", 1)
    with asks(deployed, "none") as asking:
        assert names(asking.identify(stranger, COHORT)) == ["owner-0"]
        assert names(asking.verify(stranger, "owner-0", COHORT)) == ["owner-0"]
    with asks(deployed, "canaries:3", evidence=tmp_path) as asking:
        for ask in (
            lambda: asking.identify(stranger, COHORT),
            lambda: asking.verify(stranger, "owner-0", COHORT),
        ):
            with pytest.raises(IntegrityError, match="one of the three operators dev") as caught:
                ask()
            (file,) = tmp_path.iterdir()
            assert str(file) in str(caught.value)
            assert json.loads(file.read_text())["query"] == caught.value.request_id
            file.unlink()


def test_rivals_that_are_not_those_of_the_description_are_refused(deployed, monkeypatch):
    other = rivals.Rivals.of(MADE.rivals.rows[::-1], (128,))
    monkeypatch.setattr(query.Rivals, "from_bytes", lambda rows, shape: other)
    refused = pytest.raises(ManifestMismatch, match="public rivals are not those")
    with asks(deployed, "canaries:3") as asking, refused:
        asking.identify(vectors("owner", 1), COHORT)


def test_the_command_line_has_them_too(deployed, tmp_path):
    np.savez(tmp_path / "own.npz", vectors=vectors("owner", 1))
    file = deployed.write_client_config(CLIENT, tmp_path / "client.toml")
    command = [str(Path(sys.executable).with_name("privedge")), "query", "own.npz", "--json"]
    command += ["--cohort", COHORT, "--config", str(file), "--integrity"]

    def ran_with(integrity: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, integrity], capture_output=True, text=True, timeout=120, cwd=tmp_path
        )

    said = json.loads(ran_with("canaries:7").stdout)
    assert (said["answers"], said["canaries"]) == (["owner-0"], 7)
    refused = ran_with("canaries:5")
    assert refused.returncode == 2 and "--integrity" in refused.stderr


def test_no_more_rows_settle_a_doubt_than_budgets_keep_for_it(deployed):
    with client(deployed) as asking:
        cohort = asking.describe(COHORT)
    for rows, code in ((17, grpc.StatusCode.RESOURCE_EXHAUSTED), (16, None)):
        question = Question(
            new_query_id(), COHORT, cohort.snapshot_id, (rows, 128), None, again=True
        )
        words = np.zeros((rows, 128), np.uint64)
        asked = [stub(deployed, party).Query(query_requests(question, words)) for party in PARTIES]
        ended = [error_of(each) for each in asked]
        assert [each and each.code() for each in ended] == [code, code]


def error_of(call) -> grpc.RpcError | None:
    try:
        list(call)
    except grpc.RpcError as error:
        return error
    return None
