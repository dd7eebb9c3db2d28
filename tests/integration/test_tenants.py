"""Whom an operator's lists let into a cohort, and how much each of them may ask."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from privedge.client import query
from privedge.client.query import Client
from privedge.errors import AlreadyExists, BudgetSpent, UnknownCohort
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, CohortSetting, Deployment
from privedge.ran.spec import RanSpec
from privedge.rpc import codec
from privedge.rpc.status import RETRY_AFTER
from privedge.sharing.manifest import new_model_id, new_salt
from privedge.sharing.question import Question, new_query_id
from privedge.user.checkpoint import Ran
from privedge.user.models import listed
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import CLIENT, PARTIES, client, stub

pytestmark = pytest.mark.mpc

OPEN, LISTED, CLOSED = "open", "listed", "closed"
NOWHERE = "nowhere"
BUDGET, ACTIVATIONS = 6, 3
WITHIN_S = 60
EVE = Identity(Role.CLIENT, "eve")
NURSE = Identity(Role.CLIENT, "clinic-7")
ANA, BEN = Identity(Role.OWNER, "digit-0"), Identity(Role.OWNER, "digit-1")
# Who may know of which cohorts.
MAY = {
    CLIENT: {OPEN, LISTED},
    NURSE: {OPEN, LISTED},
    EVE: {OPEN},
    ANA: {OPEN, LISTED},
    BEN: {OPEN},
    ADMIN: {OPEN, LISTED, CLOSED},
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
    ]
    settings = {"budgets": {"labels_per_day": BUDGET, "activations_per_hour": ACTIVATIONS}}
    with Deployment(tmp_path_factory.mktemp("tenants"), cohorts, settings) as running:
        for cohort in (OPEN, LISTED):
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
        assert carla.cohorts() == (LISTED, OPEN)
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
    with pytest.raises(BudgetSpent, match="the budget is spent; ask again later") as refused:
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


def test_w45_an_owner_activates_so_many_models_an_hour(deployment, rans):
    config = deployment.client_config(Identity(Role.OWNER, rans[2].owner))
    for _ in range(ACTIVATIONS):
        send(rans[2], OPEN, config)
    with pytest.raises(BudgetSpent) as refused:
        send(rans[2], OPEN, config)
    assert 0 < refused.value.retry_after_s <= 2 * 3600
    states = [model.state for model in listed(config, OPEN)]
    assert sorted(states) == ["active", "retired", "retired"]
