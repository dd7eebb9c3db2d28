"""Party 0 inside an operator's program (operator_program.py), beside the operator's own service."""

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from operator_program import ROLES, SERVICE

from privedge.client.query import Client
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, CohortSetting, Deployment
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.user.upload import send
from tests.integration.asking import CLIENT, config, health
from tests.integration.conftest import COHORT

PROGRAM = Path(__file__).with_name("operator_program.py")
WHO = {
    Role.OWNER: Identity(Role.OWNER, "ana"),
    Role.CLIENT: CLIENT,
    Role.ADMIN: ADMIN,
    Role.PARTY1: Identity(Role.PARTY1, "party1"),
    Role.DEALER: Identity(Role.DEALER, "dealer"),
}
OWN = {f"/{SERVICE}/{method}": roles for method, roles in ROLES.items()}
SERVED = {
    method: roles
    for method, roles in ACCESS.items()
    if method.startswith(("/privedge.v1.Party/", "/grpc.health.v1.Health/Check"))
}

pytestmark = pytest.mark.mpc


class Embedded(Deployment):
    """The deployment with party 0 in the operator's program."""

    def command(self, server: Role) -> list[str]:
        if server is not Role.PARTY0:
            return super().command(server)
        return [sys.executable, str(PROGRAM), str(self.config_file(server))]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, rans) -> Iterator[Deployment]:
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    folder = tmp_path_factory.mktemp("embedded")
    with Embedded(folder, cohorts, {"pool": {"bundles": 0}}) as running:
        for ran in rans[:2]:
            send(ran, COHORT, running.client_config(Identity(Role.OWNER, ran.owner)))
        yield running


def answer(deployment: Deployment, method: str, who: Identity, request: bytes = b"") -> bytes:
    """The answer, as bytes, to one call of `who`. Any kind of method can be called so."""
    address, tls = deployment.address(Role.PARTY0), deployment.tls(who)
    with closing(open_channel(address, server=Role.PARTY0, tls=tls)) as channel:
        return channel.unary_unary(method)(request, timeout=30)


def code(deployment: Deployment, method: str, who: Identity) -> grpc.StatusCode:
    try:
        answer(deployment, method, who)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_an_embedded_party_answers_queries(embedded, some_digits):
    with Client(config(embedded)) as client:
        images = some_digits.test_images[some_digits.test_labels < 2][:4]
        labels = some_digits.test_labels[some_digits.test_labels < 2][:4]
        answers = [each.owner for each in client.identify(images, COHORT).answers]
    assert answers == [f"digit-{label}" for label in labels]


def test_the_operators_service_is_called_on_the_same_port_and_knows_its_caller(embedded):
    said = answer(embedded, f"/{SERVICE}/List", CLIENT, b"orders")
    assert said == b"orders for " + CLIENT.uri.encode()


@pytest.mark.parametrize("method", [*SERVED, *OWN])
@pytest.mark.parametrize("role", WHO)
def test_the_gate_decides_on_every_method_by_role(embedded, method, role):
    allowed = {**SERVED, **OWN}[method]
    refused = code(embedded, method, WHO[role]) is grpc.StatusCode.PERMISSION_DENIED
    assert refused == (role not in allowed)


def test_nobody_calls_without_a_certificate(embedded):
    ca = embedded.tls(CLIENT).ca.read_bytes()
    name = ("grpc.ssl_target_name_override", Role.PARTY0.host)
    address = embedded.address(Role.PARTY0)
    credentials = grpc.ssl_channel_credentials(ca)
    with closing(grpc.secure_channel(address, credentials, options=[name])) as channel:
        for method in ("/privedge.v1.Party/ListCohorts", *OWN):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"", timeout=30)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_health_says_how_the_party_stands(embedded):
    for service in ("", "privedge.v1.Party", "privedge.v1.Party/peer"):
        assert health(embedded, Role.PARTY0, service) == 1, service


def test_the_program_ends_in_good_order_when_it_is_told_to(embedded):
    process = embedded.processes[Role.PARTY0]
    process.terminate()
    assert process.wait(60) == 0
    assert "Traceback" not in embedded.log_file(Role.PARTY0).read_text()
