"""Servers whose settings or versions differ: all logs say so, calls are refused, both recover.

Each test restarts one server with another setting, and then restores it.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from parties.dealer import DEALER_SERVICE
from parties.party.server import PARTY_SERVICE
from privedge.errors import CohortDiffers, TermsDiffer
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.ran.presets import preset
from privedge.rpc import codec
from privedge.rpc.status import calls_to
from privedge.rpc.versions import MPC
from privedge.sharing.question import Question, new_query_id
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import PARTIES, client, health, status, stub, until
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

OTHER = "other"
SPEC = preset("subspace32", height=32, width=32, channels=1, components=16)
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# A dealer of a version to come.
LATER_DEALER = """
import sys
from privedge.rpc import versions
Versions = versions.Versions
versions.Versions = lambda *given: Versions(*given) if given else Versions(mpc=99)
from parties.__main__ import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    cohorts = [CohortSetting(name, "subspace32", components=16) for name in (COHORT, OTHER)]
    with Deployment(tmp_path_factory.mktemp("terms"), cohorts) as running:
        for ran in rans[:2]:
            for cohort in (COHORT, OTHER):
                send(ran, cohort, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


@contextmanager
def party_1_says(deployment: Deployment, old: str, new: str) -> Iterator[None]:
    """Party 1 runs with another file inside the block, and with its own again after it."""
    file = deployment.config_file(Role.PARTY1)
    own = file.read_text()
    assert old in own
    file.write_text(own.replace(old, new, 1))
    try:
        restart(deployment, Role.PARTY1)
        yield
    finally:
        file.write_text(own)
        restart(deployment, Role.PARTY1)


def restart(deployment: Deployment, server: Role) -> None:
    end(deployment, server)
    deployment.start(server)


def end(deployment: Deployment, server: Role) -> None:
    deployment.processes[server].terminate()
    deployment.processes[server].wait(30)


def until_all(deployment: Deployment, wanted: int) -> None:
    """Both parties say so of the service they are for, and that they are alive."""
    for party in PARTIES:
        until(lambda party=party: health(deployment, party, PARTY_SERVICE) == wanted)
        assert health(deployment, party) == SERVING


def log(deployment: Deployment, server: Role) -> str:
    return deployment.log_file(server).read_text()


def until_named(deployment: Deployment, server: Role, line: str, *, after: int = 0) -> None:
    """And the server has started, so what it refuses it refuses for its terms."""
    started = "" if server is Role.DEALER else f"{PARTY_SERVICE}/worker"
    until(
        lambda: (
            health(deployment, server, started) == SERVING
            and line in log(deployment, server)[after:]
        )
    )


def ask(deployment: Deployment, party: Role, cohort: str) -> None:
    """One half of a query: a refusal comes before the other half is missed."""
    asked = stub(deployment, party)
    snapshot = asked.DescribeCohort(pb.DescribeCohortRequest(cohort=cohort), timeout=20).snapshot_id
    question = Question(new_query_id(), cohort, snapshot, (1, *SPEC.input_shape))
    header = pb.QueryRequest(header=codec.question_to_wire(question))
    with calls_to(party.label):
        list(
            asked.Query(
                iter([header, pb.QueryRequest(words=bytes(8 * question.words))]), timeout=20
            )
        )


def answered(deployment: Deployment, image: np.ndarray, cohort: str) -> int:
    with client(deployment) as asking:
        return len(asking.identify(image, cohort).answers)


def test_c55_w60_parties_that_round_differently_name_it_and_serve_nothing_until_they_agree(
    deployment, one_image, rans
):
    assert answered(deployment, one_image, COHORT) == 1
    with party_1_says(deployment, "index = 1", 'index = 1\nrounding = "exact"'):
        until_named(
            deployment, Role.PARTY0, "party 1 disagrees on rounding: one-unit here, exact there"
        )
        until_named(
            deployment, Role.PARTY1, "party 0 disagrees on rounding: exact here, one-unit there"
        )
        until_all(deployment, NOT_SERVING)
        for party in PARTIES:
            said = status(deployment, party)
            assert (said.mpc, len(said.differences)) == (MPC, 1)
            assert "rounding" in said.differences[0]
            with pytest.raises(TermsDiffer, match="the operators' settings differ"):
                ask(deployment, party, COHORT)
        owner = Identity(Role.OWNER, rans[0].owner)
        with pytest.raises(TermsDiffer):
            send(rans[0], COHORT, deployment.client_config(owner))
    until_all(deployment, SERVING)
    assert not any(status(deployment, party).differences for party in PARTIES)
    for cohort in (COHORT, OTHER):
        assert answered(deployment, one_image, cohort) == 1


def test_w60_a_cohort_with_another_margin_is_refused_and_the_other_one_answers(
    deployment, one_image, rans
):
    with party_1_says(deployment, "margin = 1.0", "margin = 0.7"):
        line = f"cohort {COHORT}: margin: 1.0 here, 0.7 there"
        until_named(deployment, Role.PARTY0, f"party 1 disagrees on {line}")
        line = f"cohort {COHORT}: margin: 0.7 here, 1.0 there"
        until_named(deployment, Role.PARTY1, f"party 0 disagrees on {line}")
        until_all(deployment, SERVING)
        for party in PARTIES:
            assert len(status(deployment, party).differences) == 1
            with pytest.raises(CohortDiffers, match="settings of this cohort differ"):
                ask(deployment, party, COHORT)
        owner = Identity(Role.OWNER, rans[0].owner)
        with pytest.raises(CohortDiffers):
            send(rans[0], COHORT, deployment.client_config(owner))
        # Of an owner who has no model there: a rehearsal may still be reading the older one.
        newcomer = Identity(Role.OWNER, rans[2].owner)
        send(rans[2], OTHER, deployment.client_config(newcomer))
        assert answered(deployment, one_image, OTHER) == 1
    until(lambda: not any(status(deployment, party).differences for party in PARTIES))
    until_all(deployment, SERVING)
    assert answered(deployment, one_image, COHORT) == 1


def test_c55_w68_a_dealer_of_another_version_is_named_by_all_three(deployment, one_image):
    end(deployment, Role.DEALER)
    file = deployment.config_file(Role.DEALER)
    command = [sys.executable, "-c", LATER_DEALER, "dealer", "--config", str(file)]
    with deployment.log_file(Role.DEALER).open("ab") as out:
        deployment.processes[Role.DEALER] = subprocess.Popen(command, stdout=out, stderr=out)
    for party in PARTIES:
        until_named(deployment, party, f"the dealer disagrees on mpc: {MPC} here, 99 there")
        until_named(
            deployment, Role.DEALER, f"{party.label} disagrees on mpc: 99 here, {MPC} there"
        )
    until_all(deployment, NOT_SERVING)
    assert health(deployment, Role.DEALER, DEALER_SERVICE) == NOT_SERVING
    assert health(deployment, Role.DEALER) == SERVING
    for party in PARTIES:
        with pytest.raises(TermsDiffer):
            ask(deployment, party, COHORT)
    restart(deployment, Role.DEALER)
    until_all(deployment, SERVING)
    assert health(deployment, Role.DEALER, DEALER_SERVICE) == SERVING
    assert answered(deployment, one_image, COHORT) == 1
