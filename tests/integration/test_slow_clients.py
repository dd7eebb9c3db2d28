"""A client that stops in the middle of a query, or never begins it, is not waited for."""

import threading
from collections.abc import Iterator

import grpc
import pytest

from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.rpc import codec
from privedge.sharing.question import Question, new_query_id
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import PARTIES, client, stub
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

DEADLINE_S = 6.0


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    """As the other tests', but patient for a few seconds only."""
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    folder = tmp_path_factory.mktemp("impatient")
    with Deployment(folder, cohorts, {"query_deadline_s": DEADLINE_S}) as running:
        for ran in rans[:2]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


@pytest.fixture
def question(deployment) -> Question:
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    return Question(new_query_id(), COHORT, cohort.snapshot_id, (1, *cohort.spec.input_shape))


@pytest.mark.parametrize("party", PARTIES)
@pytest.mark.parametrize("messages", [0, 1, 2])
def test_a_query_that_stops_half_way_is_cut_off(deployment, question, party, messages):
    never = threading.Event()
    parts = [pb.QueryRequest(header=codec.question_to_wire(question)), pb.QueryRequest(words=b"1")]

    def half() -> Iterator[pb.QueryRequest]:
        yield from parts[:messages]
        never.wait()

    call = stub(deployment, party).Query(half(), timeout=60)
    with pytest.raises(grpc.RpcError) as ending:
        next(call)
    never.set()
    assert ending.value.code() is grpc.StatusCode.CANCELLED
