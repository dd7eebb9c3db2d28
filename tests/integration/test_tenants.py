"""Whom an operator's lists let into a cohort, and how much each of them may ask."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from privedge.errors import UnknownCohort
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, CohortSetting, Deployment
from privedge.rpc import codec
from privedge.sharing.manifest import new_model_id, new_salt
from privedge.sharing.question import Question, new_query_id
from privedge.user.checkpoint import Ran
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import CLIENT, PARTIES, client, stub

pytestmark = pytest.mark.mpc

OPEN, LISTED, CLOSED = "open", "listed", "closed"
NOWHERE = "nowhere"
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
    with Deployment(tmp_path_factory.mktemp("tenants"), cohorts) as running:
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


def asked(party: Any, cohort: str, query_id: str) -> tuple[Any, ...]:
    """Only the head of a query, with a snapshot that no cohort has."""
    question = Question(query_id, cohort, "0" * 64, (1, 1, 32, 32))
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
