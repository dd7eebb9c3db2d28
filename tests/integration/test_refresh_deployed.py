"""W-43: a deployment whose shares are refreshed, under load and with kills between the steps."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from test_damaged_shares import nearest, owners
from test_encrypted_shares import Load, commanded, give_keys, kill_workers, state

from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, CohortSetting, Deployment
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from tests.integration.asking import PARTIES, client, stub, until
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc

OWNERS = 2
DYING = Path(__file__).with_name("dying_party.py")


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, rans) -> Iterator[Deployment]:
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    settings = {"pool": {"bundles": 1, "settle_s": 0.1}}
    made = Deployment(tmp_path_factory.mktemp("refreshed"), cohorts, settings)
    give_keys(made)
    with made as running:
        for ran in rans[:OWNERS]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


@pytest.fixture(scope="module")
def images(some_digits):
    return some_digits.test_images[:2]


@pytest.fixture(scope="module")
def expected(rans, images) -> list[str]:
    return nearest(rans[:OWNERS], images)


def snapshot(deployment: Deployment, party: Role) -> str:
    request = pb.DescribeCohortRequest(cohort=COHORT)
    return stub(deployment, party).DescribeCohort(request, timeout=60).snapshot_id


def agree(deployment: Deployment) -> bool:
    return len({snapshot(deployment, party) for party in PARTIES}) == 1


def raw_shares(deployment: Deployment, party: Role) -> dict[str, bytes]:
    shares = state(deployment, party) / "shares"
    return {path.name: path.read_bytes() for path in shares.iterdir()}


def start_dying(deployment: Deployment, party: Role, where: str, call: int) -> None:
    """In place of the party that runs, one that dies at that instant."""
    stop(deployment, party)
    ordinary = deployment.command(party)
    command = [sys.executable, str(DYING), where, str(call), "--", *ordinary[3:]]
    with deployment.log_file(party).open("ab") as log:
        deployment.processes[party] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    serving(deployment)


def stop(deployment: Deployment, party: Role) -> None:
    process = deployment.processes[party]
    process.terminate()
    process.wait()


def serving(deployment: Deployment) -> None:
    for party in (Role.PARTY1, Role.PARTY0):
        deployment.wait_ready(party)


def test_w43_shares_are_refreshed_under_load_and_every_answer_is_right(
    deployment, images, expected
):
    before = [raw_shares(deployment, party) for party in PARTIES]
    first = snapshot(deployment, Role.PARTY0)
    with Load(deployment, images, expected) as load:
        load.wait_for(2)
        admin, request = stub(deployment, Role.PARTY0, ADMIN), pb.RefreshSharesRequest()
        admin.RefreshShares(request, timeout=60)
        load.wait_for(2)
        with pytest.raises(grpc.RpcError) as refused:  # so soon only with the command
            admin.RefreshShares(request, timeout=60)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        said = commanded(deployment, Role.PARTY0, "refresh")
        load.wait_for(2)
    assert said.startswith(f"{OWNERS} models have new shares")
    assert (load.wrong, load.failed) == (0, [])
    assert agree(deployment) and snapshot(deployment, Role.PARTY0) != first
    for party, old in zip(PARTIES, before, strict=True):
        new = raw_shares(deployment, party)
        assert new.keys() == old.keys() and not set(new.values()) & set(old.values())
        assert list((state(deployment, party) / "trash").iterdir()) == []
        commanded(deployment, party, "verify")
    kill_workers(deployment)
    with client(deployment, retries=4) as asking:
        assert owners(asking.identify(images, COHORT)) == expected


def test_nobody_but_an_admin_asks_for_a_refresh_and_party_1_refuses_it(deployment):
    request = pb.RefreshSharesRequest()
    for party, who in (
        (Role.PARTY0, Identity(Role.CLIENT, "carla")),
        (Role.PARTY0, Identity(Role.OWNER, "ana")),
        (Role.PARTY1, ADMIN),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            stub(deployment, party, who).RefreshShares(request, timeout=60)
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("party", "where", "call"),
    [
        pytest.param(Role.PARTY0, "ShareFiles.refresh", 2, id="party0-prepared"),
        pytest.param(Role.PARTY1, "Registry.prepare_refresh", 1, id="party1-prepared"),
        pytest.param(Role.PARTY0, "Registry.use_refreshed", 1, id="party0-committed"),
        pytest.param(Role.PARTY1, "Registry.use_refreshed", 1, id="party1-committed"),
    ],
)
def test_w43_a_kill_between_the_steps_of_a_refresh_leaves_shares_that_fit(
    deployment, images, expected, party, where, call
):
    start_dying(deployment, party, where, call)
    config = str(deployment.config_file(Role.PARTY0))
    command = [sys.executable, "-m", "parties", "refresh", "--config", config]
    subprocess.run(command, capture_output=True, check=False)
    assert deployment.processes[party].wait(60) == -signal.SIGKILL
    deployment.start(party)
    serving(deployment)
    until(lambda: agree(deployment))
    kill_workers(deployment)
    with client(deployment, retries=4) as asking:
        assert owners(asking.identify(images, COHORT)) == expected
    for each in PARTIES:
        commanded(deployment, each, "verify")
