"""Three servers on this machine, cables between all who dial, and questions with known answers.

This process plays every operator, every owner and the clients: it sees all in the clear. The
pictures are scikit-learn's digits, which are public.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil

from privedge.arrays import Pixels
from privedge.client.answers import Reply
from privedge.client.query import Client
from privedge.config import ClientConfig
from privedge.errors import PrivEdgeError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, SERVERS, CohortSetting, Deployment
from privedge.ran import features
from privedge.ran.presets import preset
from privedge.rpc.channel import open_party
from privedge.user.checkpoint import Ran
from privedge.user.fitting import fit_ran
from privedge.user.settings import settings_for
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub
from privedge_lab.demo import digits
from privedge_lab.reference.model import PlainModel
from tools.gameday.cable import Cable

PARTIES = (Role.PARTY0, Role.PARTY1)
# Questions are asked of the first; what a drill uploads goes to the second, and changes no answer.
COHORT, UPLOADS = "digits", "uploads"
CLIENT = Identity(Role.CLIENT, "carla")
MARGIN = 0.8
_COMPONENTS = 16
_TRIES = 100_000
# Nothing is prepared ahead, so that the dealer has a part in every query.
_SETTINGS = {"pool": {"bundles": 0}, "spare_workers": True}


@dataclass(frozen=True)
class Question:
    """Images uint8 (n, 32, 32), and the name of the owner of each."""

    images: Pixels = field(repr=False)
    owners: tuple[str, ...] = field(repr=False)


class Service:
    """A running service, what was done to it, and how often it answered wrongly.

    Use as a context manager. `hurt` holds the ids of processes that a drill has killed or frozen.
    """

    def __init__(self, folder: Path, settings: dict[str, Any] | None = None) -> None:
        """Make the models and the files; the context manager starts the servers."""
        self._stack = ExitStack()
        self._cables: dict[str, Cable] = {}
        self._lock = threading.Lock()
        data = digits.load(seed=0)
        spec = preset("subspace32", height=32, width=32, channels=1, components=_COMPONENTS)
        self.models = [
            fit_ran(images, spec, settings_for(spec), owner=f"digit-{digit}")
            for digit, images in data.train_images.items()
        ]
        self._known = _known(self.models, data.test_images)
        cohorts = [
            CohortSetting(name, "subspace32", margin=MARGIN, components=_COMPONENTS)
            for name in (COHORT, UPLOADS)
        ]
        self.deployment = Deployment(folder, cohorts, settings or _SETTINGS, self._route)
        self.hurt: set[int] = set()
        self.wrong = 0

    def __enter__(self) -> Self:
        """Start the servers, and upload a model for each digit."""
        try:
            self._stack.enter_context(self.deployment)
            for server in PARTIES:
                self._cables[server] = self._cable(self.deployment.address(server))
            for model in self.models:
                self.upload(model, COHORT)
            self._client = self._stack.enter_context(self.client())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        self._stack.close()

    # --- Questions --------------------------------------------------------------------------------

    def question(self, number: int = 0, width: int = 1) -> Question:
        """Return a question with a known answer; with width 2 those of 0 to 99 all differ."""
        owners = sorted(self._known)
        chosen = [number // len(owners) ** place % len(owners) for place in range(width)]
        named = tuple(owners[at] for at in chosen)
        return Question(np.stack([self._known[name] for name in named]), named)

    def config(
        self, who: Identity = CLIENT, *, within_s: float = 60, retries: int = 0
    ) -> ClientConfig:
        """Return the configuration of somebody whose connections are cables."""
        config = self.deployment.client_config(who, rpc_timeout_s=within_s, retries=retries)
        return config.model_copy(
            update={server.value: self._cables[server].address for server in PARTIES}
        )

    def client(self, who: Identity = CLIENT, *, within_s: float = 10, retries: int = 0) -> Client:
        """Return a client who tries nothing again, unless told to."""
        return Client(self.config(who, within_s=within_s, retries=retries))

    def ask(self, client: Client | None = None, question: Question | None = None) -> Reply:
        """Ask, by default as a client who has been there from the start; count a wrong answer."""
        asked = question or self.question()
        reply = (client or self._client).identify(asked.images, COHORT)
        if tuple(answer.owner for answer in reply.answers) != asked.owners:
            with self._lock:
                self.wrong += 1
        return reply

    def until_answered(self, within_s: float) -> float:
        """Return the seconds to the next right answer; after `within_s`, raise the last error."""
        began = time.monotonic()
        while True:
            wrong = self.wrong
            try:
                self.ask()
            except PrivEdgeError:
                if time.monotonic() - began > within_s:
                    raise
                continue
            if self.wrong == wrong:
                return time.monotonic() - began

    @contextmanager
    def in_flight(self) -> Iterator["Future[Reply]"]:
        """A query that both parties count as running; nobody else may be asking."""
        with ThreadPoolExecutor(1) as thread, self.client(within_s=60) as client:
            future = thread.submit(self.ask, client)
            until(lambda: all(self.status(party).queries_running for party in PARTIES))
            yield future

    def upload(self, model: Ran, cohort: str = UPLOADS) -> None:
        """Upload a model as its owner."""
        send(model, cohort, self.deployment.client_config(Identity(Role.OWNER, model.owner)))

    def status(self, party: Role) -> pb.StatusResponse:
        """Ask one party, as its operator, without a cable."""
        config = self.deployment.client_config(ADMIN)
        with open_party(config, party) as channel:
            return PartyStub(channel).Status(pb.StatusRequest(), timeout=20)

    # --- Processes and cables ---------------------------------------------------------------------

    @property
    def peer(self) -> tuple[Cable, Cable]:
        """The cables from party 0 to party 1: of the front ends, and of the workers."""
        addresses = (
            self.deployment.address(Role.PARTY1),
            f"127.0.0.1:{self.deployment.worker_port}",
        )
        first, second = (self._cables[address] for address in addresses)
        return first, second

    @property
    def dealer(self) -> Cable:
        """The cable from both parties to the dealer."""
        return self._cables[self.deployment.address(Role.DEALER)]

    def to(self, party: Role) -> Cable:
        """Return the cable from clients to a party."""
        return self._cables[party]

    @property
    def cables(self) -> list[Cable]:
        """All of them."""
        return list(self._cables.values())

    def server(self, server: Role) -> psutil.Process:
        """Return a server's own process."""
        return psutil.Process(self.deployment.processes[server].pid)

    def worker(self, party: Role) -> psutil.Process:
        """Return the process that computes at a party."""
        return psutil.Process(self.status(party).worker_pids[0])

    def kill(self, process: psutil.Process) -> None:
        """SIGKILL; the workers of a killed front end end by themselves."""
        self.hurt |= {process.pid, *(child.pid for child in process.children(recursive=True))}
        process.kill()

    @contextmanager
    def frozen(self, process: psutil.Process) -> Iterator[None]:
        """SIGSTOP inside the block; it may be killed there."""
        self.hurt.add(process.pid)
        process.suspend()
        try:
            yield
        finally:
            if process.is_running():
                process.resume()

    def stop(self, server: Role) -> int:
        """SIGTERM. Returns the exit status."""
        process = self.server(server)
        self.hurt |= {process.pid, *(child.pid for child in process.children(recursive=True))}
        self.deployment.processes[server].terminate()
        return self.deployment.processes[server].wait(60)

    def start(self, server: Role) -> None:
        """Start a server that was killed or stopped, and wait until it is ready."""
        self.deployment.processes[server].wait(60)
        self.deployment.start(server)
        self.deployment.wait_ready(server)
        for each in SERVERS:
            self.deployment.wait_ready(each)

    def processes(self) -> dict[int, str]:
        """Return all processes of the servers by id: what each is."""
        found = {}
        for server in SERVERS:
            parent = self.server(server)
            found[parent.pid] = server.value
            found |= {child.pid: f"a worker of {server}" for child in parent.children()}
        return found

    def _route(self, address: str) -> str:
        if address not in self._cables:
            self._cables[address] = self._cable(address)
        return self._cables[address].address

    def _cable(self, address: str) -> Cable:
        return self._stack.enter_context(Cable(address, records=False))


def until(condition: Callable[[], bool]) -> None:
    """Ask again and again; every asking is a call to a live server, which is what takes time."""
    for _ in range(_TRIES):
        if condition():
            return
    raise AssertionError("it did not come to be")


def _known(models: list[Ran], images: Pixels) -> dict[str, Pixels]:
    """Return, for each owner, an image whose answer no rounding can change."""
    given = features.extract(models[0].spec, images)
    answers = PlainModel(models, MARGIN).answers(given)
    return {
        answer.owner: image
        for image, answer in zip(images, answers, strict=True)
        if answer.owner is not None and not answer.tie
    }
