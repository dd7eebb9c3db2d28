"""Whom an operator's lists let into a cohort, and how much each of them may ask."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from parties.party.audit.files import FOLDER
from parties.party.audit.reading import shown
from privedge.client import query
from privedge.client.query import Client
from privedge.errors import (
    AlreadyExists,
    BudgetSpent,
    NotAllowed,
    UnknownCohort,
    UnknownModel,
)
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, CohortSetting, Deployment
from privedge.ran.spec import RanSpec
from privedge.rpc import codec
from privedge.rpc.status import RETRY_AFTER
from privedge.sharing.manifest import new_model_id, new_salt
from privedge.sharing.question import Question, new_query_id
from privedge.user.checkpoint import Ran
from privedge.user.models import delete, listed
from privedge.user.owner import Owner
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import CLIENT, PARTIES, client, status, stub, until

pytestmark = pytest.mark.mpc

OPEN, LISTED, CLOSED = "open", "listed", "closed"
SCARCE = "scarce"
NOWHERE = "nowhere"
# Labels of 30 days in one cohort: of one client, and of all of them.
MONTH, TOGETHER = 4, 6
BUDGET, ACTIVATIONS = 6, 3
WITHIN_S = 60
EVE = Identity(Role.CLIENT, "eve")
NURSE = Identity(Role.CLIENT, "clinic-7")
ANA, BEN = Identity(Role.OWNER, "digit-0"), Identity(Role.OWNER, "digit-1")
# Who may know of which cohorts.
MAY = {
    CLIENT: {OPEN, LISTED, SCARCE},
    NURSE: {OPEN, LISTED, SCARCE},
    EVE: {OPEN, SCARCE},
    ANA: {OPEN, LISTED, SCARCE},
    BEN: {OPEN, SCARCE},
    ADMIN: {OPEN, LISTED, CLOSED, SCARCE},
}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    """One model in each cohort that somebody may join."""
    cohorts = [
        CohortSetting(OPEN, "subspace32", components=16),
        CohortSetting(
            LISTED,
            "subspace32",
            components=16,
            clients=(CLIENT.name, "clinic-*"),
            owners=(ANA.name,),
        ),
        CohortSetting(CLOSED, "subspace32", components=16, clients=(), owners=()),
        CohortSetting(
            SCARCE,
            "subspace32",
            components=16,
            budget={"client_month": MONTH, "client_hour": 0, "all_month": TOGETHER},
        ),
    ]
    settings = {
        "budgets": {"labels_per_day": BUDGET, "activations_per_hour": ACTIVATIONS},
        "audit": {"tally_s": 0.5},
    }
    with Deployment(tmp_path_factory.mktemp("tenants"), cohorts, settings) as running:
        for cohort in (OPEN, LISTED, SCARCE):
            send(rans[0], cohort, running.client_config(ANA))
        yield running


def ending(call: Callable[[], Any]) -> tuple[Any, ...]:
    """How a call ends: all that its caller can see, but for the answer."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details(), tuple(error.trailing_metadata() or ())
    return (grpc.StatusCode.OK,)


def described(party: Any, cohort: str) -> tuple[Any, ...]:
    request = pb.DescribeCohortRequest(cohort=cohort)
    return ending(lambda: party.DescribeCohort(request, timeout=WITHIN_S))


def asked(
    party: Any, cohort: str, query_id: str, described: pb.DescribeCohortResponse | None = None
) -> tuple[Any, ...]:
    """Only the head of a query for one image, by default with a snapshot that no cohort has."""
    snapshot_id, shape = "0" * 64, (1, 32, 32)
    if described is not None:
        snapshot_id = described.snapshot_id
        shape = RanSpec.from_json(described.spec_json).input_shape
    question = Question(query_id, cohort, snapshot_id, (1, *shape))
    head = pb.QueryRequest(header=codec.question_to_wire(question))
    return ending(lambda: list(party.Query(iter([head]), timeout=WITHIN_S)))


def uploaded(party: Any, cohort: str, ran: Ran) -> tuple[Any, ...]:
    """A model of the right architecture's digest, with another tensor."""
    manifest = pb.ModelManifest(
        model_id=new_model_id(),
        cohort=cohort,
        owner=ran.owner,
        spec_digest=ran.spec.digest(),
        tensors=[pb.TensorEntry(name="one", shape=[1], commitments=[bytes(32), bytes(32)])],
    )
    head = pb.UploadModelRequest(header=pb.UploadHeader(manifest=manifest, salt=new_salt()))
    return ending(lambda: party.UploadModel(iter([head]), timeout=WITHIN_S))


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("who", MAY)
def test_w05_each_caller_learns_of_its_own_cohorts_only(deployment, party, who):
    there = stub(deployment, party, who)
    rows = there.ListCohorts(pb.ListCohortsRequest(), timeout=WITHIN_S).cohorts
    assert {row.name for row in rows} == MAY[who]
    unknown = described(there, NOWHERE)
    assert unknown[0] is grpc.StatusCode.NOT_FOUND
    for cohort in (OPEN, LISTED, CLOSED):
        expected = (grpc.StatusCode.OK,) if cohort in MAY[who] else unknown
        assert described(there, cohort) == expected


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("who", [CLIENT, NURSE, EVE])
def test_w05_a_query_of_a_cohort_of_others_ends_as_one_of_no_cohort(deployment, party, who):
    there = stub(deployment, party, who)
    for cohort in (OPEN, LISTED, CLOSED, NOWHERE):
        # The same id twice: whether it counts as used must not tell either.
        query_id = new_query_id()
        first, second = (asked(there, cohort, query_id) for _ in range(2))
        if cohort in MAY[who]:
            assert first[0] is grpc.StatusCode.ABORTED
            assert second[0] is grpc.StatusCode.ALREADY_EXISTS
        else:
            assert first == second == described(there, NOWHERE)


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("who", [ANA, BEN])
def test_w05_an_upload_to_a_cohort_of_others_ends_as_one_to_no_cohort(deployment, party, who, rans):
    there = stub(deployment, party, who)
    ran = next(each for each in rans if each.owner == who.name)
    unknown = uploaded(there, NOWHERE, ran)
    assert unknown[0] is grpc.StatusCode.NOT_FOUND
    for cohort in (OPEN, LISTED, CLOSED):
        found = uploaded(there, cohort, ran)
        if cohort in MAY[who]:
            assert found[0] is grpc.StatusCode.INVALID_ARGUMENT  # its tensor is another one
        else:
            assert found == unknown


def test_w05_who_is_on_the_list_is_served(deployment, one_image):
    with client(deployment) as carla:
        assert carla.cohorts() == (LISTED, OPEN, SCARCE)
        assert len(carla.identify(one_image, LISTED).answers) == 1


def test_w05_the_library_says_the_same_of_both(deployment, one_image, rans):
    with client(deployment, who=EVE) as eve:
        for cohort in (LISTED, NOWHERE):
            with pytest.raises(UnknownCohort, match="unknown cohort; check the cohort's name"):
                eve.identify(one_image, cohort)
    with pytest.raises(UnknownCohort):
        send(rans[1], LISTED, deployment.client_config(BEN))


# --- Budgets --------------------------------------------------------------------------------------


def heads(deployment: Deployment, party: Role, who: Identity, count: int) -> list[tuple[Any, ...]]:
    """How as many queries end that one party alone gets the heads of, and no words."""
    there = stub(deployment, party, who)
    described = there.DescribeCohort(pb.DescribeCohortRequest(cohort=OPEN), timeout=WITHIN_S)
    return [asked(there, OPEN, new_query_id(), described) for _ in range(count)]


def over_budget(deployment: Deployment, party: Role, who: Identity) -> float:
    """The seconds that one party alone refuses the head of one more image for."""
    ((code, text, trailing),) = heads(deployment, party, who, 1)
    assert (code, text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "the budget is spent")
    return int(dict(trailing)[RETRY_AFTER]) / 1000


def refused_after(asking: Client, images: Any, count: int) -> None:
    """Exactly `count` more images are answered."""
    for size in (count - count // 2, count // 2):
        if size:
            assert len(asking.identify(images[:size], OPEN).answers) == size
    with pytest.raises(
        BudgetSpent, match=r"the budget is spent; there is some again in 2[345] h"
    ) as refused:
        asking.identify(images[:1], OPEN)
    assert 23 * 3600 < refused.value.retry_after_s <= 25 * 3600


def test_c45_a_budget_is_one_of_images_and_survives_a_kill_and_a_stop(deployment, some_digits):
    greta = Identity(Role.CLIENT, "greta")
    with client(deployment, who=greta) as asking:
        refused_after(asking, some_digits.test_images, BUDGET)
    for party, end in ((Role.PARTY0, "kill"), (Role.PARTY1, "terminate")):
        process = deployment.processes[party]
        getattr(process, end)()
        process.wait(WITHIN_S)
        deployment.start(party)
    for party in PARTIES:
        deployment.wait_ready(party)
        assert 23 * 3600 < over_budget(deployment, party, greta) <= 25 * 3600
    with client(deployment, who=Identity(Role.CLIENT, "henri")) as other:
        assert len(other.identify(some_digits.test_images[:BUDGET], OPEN).answers) == BUDGET


def test_c35_a_used_id_is_charged_once(deployment, some_digits, monkeypatch):
    with client(deployment, who=Identity(Role.CLIENT, "iris")) as asking:
        with monkeypatch.context() as fixed:
            fixed.setattr(query, "new_query_id", lambda: "ab" * 16)
            asking.identify(some_digits.test_images[:2], OPEN)
            for _ in range(3):
                with pytest.raises(AlreadyExists):
                    asking.identify(some_digits.test_images[:2], OPEN)
        refused_after(asking, some_digits.test_images, BUDGET - 2)


def test_c45_a_question_to_one_party_gets_nothing_and_costs_nothing(deployment, some_digits):
    jan = Identity(Role.CLIENT, "jan")
    for party in PARTIES:
        for end in heads(deployment, party, jan, BUDGET + 1):
            assert end[0] is grpc.StatusCode.INVALID_ARGUMENT  # the words are missing
    with client(deployment, who=jan) as asking:
        refused_after(asking, some_digits.test_images, BUDGET)


def test_w45_the_budget_of_one_cohort_is_none_of_another(deployment, some_digits):
    with client(deployment, who=NURSE) as asking:
        refused_after(asking, some_digits.test_images, BUDGET)
        asking.identify(some_digits.test_images[:BUDGET], LISTED)


def test_w45_a_cohort_has_a_budget_of_30_days_and_tells_its_owners(deployment, some_digits):
    images, config = some_digits.test_images, deployment.client_config(ANA)
    greedy, other = (Identity(Role.CLIENT, name) for name in ("nils", "olga"))

    def spent(who: Identity) -> None:
        with client(deployment, who=who) as asking, pytest.raises(BudgetSpent) as refused:
            asking.identify(images[:1], SCARCE)
        assert 29 * 24 * 3600 < refused.value.retry_after_s <= 31 * 24 * 3600

    with client(deployment, who=greedy) as asking:
        asking.identify(images[:3], SCARCE)
        asking.verify(images[:1], ANA.name, SCARCE)
    spent(greedy)
    with client(deployment, who=other) as asking:
        asking.identify(images[: TOGETHER - MONTH], SCARCE)
    spent(other)
    for party, end in ((Role.PARTY0, "terminate"), (Role.PARTY1, "kill")):
        process = deployment.processes[party]
        getattr(process, end)()
        process.wait(WITHIN_S)
        deployment.start(party)
    for party in PARTIES:
        deployment.wait_ready(party)
    spent(greedy)
    # Only what was written ahead may have been added, by the one that was killed.
    first, second = Owner(config).exposure(SCARCE)
    assert (first.identities, first.named, first.activated) == (2, 1, 1)
    assert first.largest_share == pytest.approx(MONTH / TOGETHER)
    assert sum(first.days.values()) == TOGETHER <= sum(second.days.values())
    assert second.identities == 2
    with pytest.raises(UnknownModel):
        Owner(deployment.client_config(BEN)).exposure(SCARCE)
    with pytest.raises(NotAllowed):
        Owner(deployment.client_config(greedy)).exposure(SCARCE)


def test_w45_an_owner_activates_so_many_models_an_hour(deployment, rans):
    config = deployment.client_config(Identity(Role.OWNER, rans[2].owner))
    for _ in range(ACTIVATIONS):
        send(rans[2], OPEN, config)
    with pytest.raises(BudgetSpent) as refused:
        send(rans[2], OPEN, config)
    assert 0 < refused.value.retry_after_s <= 2 * 3600
    states = [model.state for model in listed(config, OPEN)]
    assert sorted(states) == ["active", "retired", "retired"]


# --- The audit log --------------------------------------------------------------------------------


def audit(deployment: Deployment, party: Role, *arguments: str) -> subprocess.CompletedProcess[str]:
    act, *rest = arguments
    config = ["--config", str(deployment.config_file(party))]
    command = [sys.executable, "-m", "parties", "audit", act, *config, *rest]
    return subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)


def lines(deployment: Deployment, party: Role, event: str) -> list[dict[str, Any]]:
    folder = deployment.folder / "state" / party.value / FOLDER
    return [dict(line) for line in shown(folder, event=event, who=None, since=None)]


def total(found: list[dict[str, Any]], amount: str, **fields: str) -> int:
    fitting = [line for line in found if fields.items() <= line.items()]
    return sum(line.get(amount, 0) for line in fitting)


@pytest.mark.parametrize("party", PARTIES)
def test_w46_who_asked_how_much_is_in_both_logs(deployment, some_digits, party):
    lena = Identity(Role.CLIENT, f"lena-{party}")
    with client(deployment, who=lena) as asking:
        refused_after(asking, some_digits.test_images, BUDGET)
    who = {"client": lena.name, "cohort": OPEN}

    def counted(amount: str) -> list[int]:
        return [total(lines(deployment, each, "queries"), amount, **who) for each in PARTIES]

    # Whoever refuses first ends the call to the other, which may then have refused nothing.
    until(lambda: max(counted("refused")) == 1)
    until(lambda: counted("answered") == [2, 2])
    found = lines(deployment, party, "queries")
    assert total(found, "images", **who) == BUDGET
    assert total(found, "answered", **who) == 2


@pytest.mark.parametrize("party", PARTIES)
def test_c05_a_call_of_another_role_and_one_of_an_admin_are_in_the_log(deployment, party):
    mona = Identity(Role.CLIENT, f"mona-{party}")
    refused = ending(lambda: stub(deployment, party, mona).Status(pb.StatusRequest(), timeout=10))
    assert refused[0] is grpc.StatusCode.PERMISSION_DENIED
    status(deployment, party)
    method = "/privedge.v1.Party/Status"

    def calls(event: str, who: str) -> int:
        return total(lines(deployment, party, event), "calls", who=who, method=method)

    until(lambda: calls("refusals", mona.uri) == 1)
    until(lambda: calls("admin calls", ADMIN.uri) > 0)


def test_w46_a_models_life_is_in_both_logs_and_its_owner_sees_how_often_it_was_asked(
    deployment, rans, some_digits
):
    owner = Identity(Role.OWNER, rans[3].owner)
    config = deployment.client_config(owner)
    model_id = send(rans[3], OPEN, config).model_id
    with client(deployment, who=Identity(Role.CLIENT, "nora")) as asking:
        asking.identify(some_digits.test_images[:4], OPEN)
    for at in PARTIES:
        assert [model.images_asked for model in listed(config, OPEN, at)] == [4]
    delete(model_id, config)
    about = {"model": model_id, "cohort": OPEN, "owner": owner.name}
    for party in PARTIES:
        for event in ("upload", "activation", "deletion"):
            found = lines(deployment, party, event)
            (line,) = [each for each in found if about.items() <= each.items()]
        assert line["by"] == owner.uri


@pytest.mark.parametrize("first", PARTIES)
def test_w04_a_model_goes_when_admins_at_both_parties_have_deleted_it(deployment, rans, first):
    ran = rans[4]
    config = deployment.client_config(Identity(Role.OWNER, ran.owner))
    request = pb.DeleteModelRequest(model_id=send(ran, OPEN, config).model_id)

    def owners(party: Role) -> list[str]:
        asked = pb.DescribeCohortRequest(cohort=OPEN)
        return list(stub(deployment, party).DescribeCohort(asked, timeout=WITHIN_S).owners)

    assert all(ran.owner in owners(party) for party in PARTIES)
    assert stub(deployment, first, ADMIN).DeleteModel(request, timeout=WITHIN_S).suspended
    until(lambda: not any(ran.owner in owners(party) for party in PARTIES))
    assert [listed(config, OPEN, at)[0].state for at in PARTIES] == ["quarantined"] * 2
    second = PARTIES[1 - PARTIES.index(first)]
    assert stub(deployment, second, ADMIN).DeleteModel(request, timeout=WITHIN_S).suspended
    until(lambda: not any(listed(config, OPEN, at) for at in PARTIES))


def test_w46_each_log_is_checked_by_the_heads_in_the_other_one(deployment, tmp_path):
    for party, other in (PARTIES, PARTIES[::-1]):
        until(lambda at=other: bool(lines(deployment, at, "peer head")))
        heads = tmp_path / f"{other}.jsonl"
        heads.write_text(audit(deployment, other, "heads").stdout)
        whole = audit(deployment, party, "verify", "--peer-heads", str(heads))
        assert (whole.returncode, whole.stderr) == (0, "")
        last = json.loads(heads.read_text().splitlines()[-1])
        heads.write_text(json.dumps({**last, "number": last["number"] + 100_000}))
        cut = audit(deployment, party, "verify", "--peer-heads", str(heads))
        assert cut.returncode == 1
        assert "the other party has recorded line" in cut.stdout


def test_the_log_shows_no_label_and_no_share(deployment):
    names = {"number", "time", "event", "sha256", "client", "cohort", "owner", "model", "by", "who"}
    names |= {"state", "method", "calls", "answered", "failed", "refused", "images", "bytes"}
    names |= {"peer_number", "peer_sha256", "version", "key"}
    for party in PARTIES:
        said = audit(deployment, party, "show", "--json").stdout.splitlines()
        assert {name for line in said for name in json.loads(line)} <= names
