"""The settings that are not the default, the reference engine and exact rounding, give the same
answers."""

from contextlib import ExitStack

import numpy as np
import pytest
from grpc_health.v1 import health_pb2

from parties.party.server import PARTY_SERVICE
from privedge.errors import TermsDiffer
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import SERVERS, CohortSetting, Deployment
from privedge.user.upload import send
from tests.integration.asking import PARTIES, clear_distances, client, health, until
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc


@pytest.mark.parametrize("setting", [{"engine": "crypten"}, {"rounding": "exact"}])
def test_answers_are_the_plaintext_labels(tmp_path, rans, some_digits, setting):
    images = some_digits.test_images[:40]
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    with Deployment(tmp_path, cohorts, setting) as deployment:
        for ran in rans:
            send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
        with client(deployment) as asking:
            reply = asking.identify(images, COHORT)
    best = np.argmin(clear_distances(rans, images), axis=1)
    assert [answer.owner for answer in reply.answers] == [f"digit-{owner}" for owner in best]


@pytest.mark.parametrize(
    ("key", "here", "there"), [("engine", "fused", "crypten"), ("rounding", "one-unit", "exact")]
)
def test_parties_that_would_compute_differently_refuse(tmp_path, rans, key, here, there):
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    deployment = Deployment(tmp_path, cohorts, {key: here})
    other = deployment.config_file(Role.PARTY1)
    other.write_text(other.read_text().replace(f'{key} = "{here}"', f'{key} = "{there}"'))
    not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
    with ExitStack() as stack:
        stack.callback(deployment.stop)
        for server in SERVERS:
            deployment.start(server)
        for party in PARTIES:
            # The service is not served while it starts either.
            terms = f"{PARTY_SERVICE}/terms"
            until(lambda party=party, terms=terms: health(deployment, party, terms) == not_serving)
        ran = rans[0]
        with pytest.raises(TermsDiffer):
            send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
