"""Servers do not wait for a client that stops in the middle of a query or never begins it."""

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


def test_queries_that_stop_half_way_are_cut_off(deployment):
    with client(deployment) as asking:
        cohort = asking.describe(COHORT)
    never = threading.Event()

    def half(messages: int) -> Iterator[pb.QueryRequest]:
        shape = (1, *cohort.spec.input_shape)
        question = Question(new_query_id(), COHORT, cohort.snapshot_id, shape)
        if messages > 0:
            yield pb.QueryRequest(header=codec.question_to_wire(question))
        if messages > 1:
            yield pb.QueryRequest(words=b"1")
        never.wait()

    # All at once, for each takes a deadline to end.
    calls = [
        stub(deployment, party).Query(half(messages), timeout=60)
        for party in PARTIES
        for messages in range(3)
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as ending:
            next(call)
        assert ending.value.code() is grpc.StatusCode.CANCELLED
    never.set()
