"""A whole deployment takes over a new authority and new certificates, without a failed query."""

import shutil
from contextlib import ExitStack

from asking import CLIENT
from cable import Cable
from conftest import COHORT, MARGIN

from privedge.client.query import Client
from privedge.identity.certificates import create_authority, issue
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, SERVERS, CohortSetting, Deployment
from privedge.user.upload import send

EVERYBODY = [Identity(server, server.value) for server in SERVERS] + [CLIENT, ADMIN]


class Cables:
    """A cable to every server, for whoever dials it."""

    def __init__(self, stack: ExitStack):
        self._stack, self._cables = stack, {}

    def route(self, address):
        if address not in self._cables:
            self._cables[address] = self._stack.enter_context(Cable(address))
        return self._cables[address].address

    def cut(self):
        for cable in self._cables.values():
            cable.cut()


def replace_everything(deployment, folder):
    """Another authority, and all certificates of it; each file is replaced as a whole."""
    create_authority(folder)
    made = {identity: issue(folder, identity) for identity in EVERYBODY}
    for identity, files in made.items():
        old = deployment.tls(identity)
        for kind in ("ca", "certificate", "key"):
            part = folder / "part"
            shutil.copy(getattr(files, kind), part)
            part.replace(getattr(old, kind))


def test_w01_five_new_authorities_with_all_connections_cut_each_time_fail_no_query(
    tmp_path, rans, one_image
):
    cohort = CohortSetting(COHORT, "subspace32", margin=MARGIN, components=16)
    with ExitStack() as stack:
        cables = Cables(stack)
        deployment = stack.enter_context(
            Deployment(tmp_path / "deployment", [cohort], route=cables.route)
        )
        for ran in rans[:2]:
            send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
        config = deployment.client_config(CLIENT)
        routed = {name: cables.route(getattr(config, name)) for name in ("party0", "party1")}
        client = stack.enter_context(Client(config.model_copy(update=routed)))
        expected = client.identify(one_image, COHORT).answers
        for number in range(5):
            replace_everything(deployment, tmp_path / f"authority-{number}")
            cables.cut()
            assert client.identify(one_image, COHORT).answers == expected
