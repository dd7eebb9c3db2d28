"""A whole deployment takes over a new authority and new certificates, without a failed query."""

import shutil
import threading
from contextlib import ExitStack

import pytest
from asking import CLIENT
from conftest import COHORT, MARGIN

from privedge.client.query import Client
from privedge.errors import PrivEdgeError
from privedge.identity.certificates import create_authority, issue, renew, request, sign
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, SERVERS, CohortSetting, Deployment
from privedge.user.upload import send
from tools.gameday.cable import Cable

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


@pytest.fixture(scope="module")
def running(tmp_path_factory, rans):
    """A deployment, cables to all of its servers, and a client at the end of two of them."""
    cohort = CohortSetting(COHORT, "subspace32", margin=MARGIN, components=16)
    with ExitStack() as stack:
        cables = Cables(stack)
        deployment = stack.enter_context(
            Deployment(tmp_path_factory.mktemp("renewed"), [cohort], route=cables.route)
        )
        for ran in rans[:2]:
            send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
        config = deployment.client_config(CLIENT)
        deployment.tls(ADMIN)
        routed = {name: cables.route(getattr(config, name)) for name in ("party0", "party1")}
        client = stack.enter_context(Client(config.model_copy(update=routed)))
        yield deployment, cables, client


def test_w01_five_new_authorities_with_all_connections_cut_each_time_fail_no_query(
    running, one_image, tmp_path
):
    deployment, cables, client = running
    expected = client.identify(one_image, COHORT).answers
    for number in range(5):
        replace_everything(deployment, tmp_path / str(number))
        cables.cut()
        assert client.identify(one_image, COHORT).answers == expected


class Asking(threading.Thread):
    """Asks again and again."""

    def __init__(self, ask):
        super().__init__()
        self.answered, self.over = threading.Semaphore(0), threading.Event()
        self.answers, self._ask = [], ask

    def run(self):
        while not self.over.is_set():
            try:
                self.answers.append(self._ask())
            except PrivEdgeError as error:
                self.answers.append(error)
            self.answered.release()

    def wait_for(self, count):
        for _ in range(count):
            assert self.answered.acquire(timeout=60)


def put(path, raw):
    part = path.with_name("part")
    part.write_bytes(raw)
    part.replace(path)


def test_w07_an_authority_is_replaced_step_by_step_under_load_and_no_query_fails(
    running, one_image, tmp_path
):
    deployment, _, client = running
    trusted, authority = deployment.tls(CLIENT).ca, tmp_path / "new"
    create_authority(authority)
    new = (authority / "ca.crt").read_bytes()
    expected = client.identify(one_image, COHORT).answers
    asking = Asking(lambda: client.identify(one_image, COHORT).answers)
    asking.start()
    try:
        put(trusted, trusted.read_bytes() + new)
        asking.wait_for(3)
        for identity in EVERYBODY:
            signed = tmp_path / f"{identity.name}.crt"
            sign(authority, request(trusted.parent, identity)[0], identity, signed)
            renew(deployment.tls(identity), signed)
            asking.wait_for(1)
        put(trusted, new)
        asking.wait_for(3)
    finally:
        asking.over.set()
        asking.join(60)
    assert [each for each in asking.answers if each != expected] == []
