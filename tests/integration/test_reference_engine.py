"""`engine = "crypten"`, the reference: the same answers as the fused engine and the clear model."""

import numpy as np
import pytest

from privedge.errors import ManifestMismatch
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.user.upload import send
from tests.integration.asking import clear_distances, client
from tests.integration.conftest import COHORT

pytestmark = pytest.mark.mpc


def test_the_reference_engine_gives_the_plaintext_labels(tmp_path, rans, some_digits):
    images = some_digits.test_images[:40]
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    with Deployment(tmp_path, cohorts, {"engine": "crypten"}) as deployment:
        for ran in rans:
            send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
        with client(deployment) as asking:
            reply = asking.identify(images, COHORT)
    best = np.argmin(clear_distances(rans, images), axis=1)
    assert [answer.owner for answer in reply.answers] == [f"digit-{owner}" for owner in best]


def test_parties_with_different_engines_refuse_to_compute(tmp_path, rans, one_image):
    cohorts = [CohortSetting(COHORT, "subspace32", components=16)]
    deployment = Deployment(tmp_path, cohorts, {"engine": "fused"})
    other = deployment.config_file(Role.PARTY1)
    other.write_text(other.read_text().replace('engine = "fused"', 'engine = "crypten"'))
    with deployment:
        ran = rans[0]
        send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
        with client(deployment) as asking, pytest.raises(ManifestMismatch):
            asking.identify(one_image, COHORT)
