"""What is not the default, the reference engine and exact rounding, gives the same answers."""

import numpy as np
import pytest

from privedge.errors import ManifestMismatch
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.upload import send
from tests.integration.asking import clear_distances, client
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
def test_parties_that_would_compute_differently_refuse(tmp_path, rans, one_image, key, here, there):
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    deployment = Deployment(tmp_path, cohorts, {key: here})
    other = deployment.config_file(Role.PARTY1)
    other.write_text(other.read_text().replace(f'{key} = "{here}"', f'{key} = "{there}"'))
    with deployment:
        ran = rans[0]
        send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
        with client(deployment) as asking, pytest.raises(ManifestMismatch):
            asking.identify(one_image, COHORT)
