"""Measure what one client notices of a flood by somebody else: `python tools/floods.py`.

Starts a service with ten owners on this machine, and prints the seconds of one client's queries at
rest and during each flood, and each server's threads. Rest and flood come in turn, `--rounds`
times, so that whatever else the machine does slows both.

The flood shares the machine with the servers, so it is given the lowest priority; what is left of
its cost counts against the servers. With `--first` servers, client and flood together go before
everything else that runs here: `setsid -w python tools/floods.py --first`, as root.
"""

import argparse
import asyncio
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import psutil

from privedge.client.query import Client
from privedge.config import ClientConfig, TlsFiles
from privedge.errors import PrivEdgeError
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import ADMIN, SERVERS, CohortSetting, Deployment
from privedge.ran.presets import preset
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.health import serves
from privedge.rpc.tls import client_credentials
from privedge.user.fitting import fit_ran
from privedge.user.settings import settings_for
from privedge.user.upload import send
from privedge.wire import party_pb2 as pb
from privedge.wire.party_pb2_grpc import PartyStub
from privedge_lab.demo import digits

COHORT = "digits"
QUERIES, PAUSE_S = 40, 0.1
# The niceness of the whole session: Linux looks at that of processes only within one.
_SESSION, _BEFORE_OTHERS = Path("/proc/self/autogroup"), "-15"


@dataclass(frozen=True)
class Aim:
    """What a flood aims at, and by which certificate."""

    addresses: dict[Role, str]
    files: TlsFiles
    config: ClientConfig


Flood = Callable[[Aim, Event, Event], None]


def idle(aim: Aim, begun: Event, over: Event) -> None:
    """400 calls at each server that never go on, of every method, with one certificate."""
    import grpc  # after privedge, which sets what TLS it offers

    methods = sorted(ACCESS) * 20

    async def call_all() -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = []
        for server in (Role.PARTY0, Role.PARTY1, Role.DEALER):
            named = [*options, ("grpc.ssl_target_name_override", server.host)]
            for _ in range(4):
                address, credentials = aim.addresses[server], client_credentials(aim.files, server)
                channels.append(grpc.aio.secure_channel(address, credentials, options=named))
        while not over.is_set():
            calls = [
                channel.stream_stream(method)()
                for number, channel in enumerate(channels)
                for method in methods[number % 4 : 400 : 4]
            ]
            begun.set()
            ends = Counter(await asyncio.gather(*(call.code() for call in calls)))
            print("   ", {code.name: count for code, count in ends.items()}, flush=True)

    asyncio.run(call_all())


def asking(aim: Aim, begun: Event, over: Event) -> None:
    """80 threads that ask without a pause, and without patience."""
    picture = np.zeros((1, 32, 32), np.uint8)
    ends: Counter[str] = Counter()
    with Client(aim.config) as client:
        client.describe(COHORT)

        def ask() -> None:
            while not over.is_set():
                try:
                    client.identify(picture, COHORT)
                    ends["answered"] += 1
                except PrivEdgeError as error:
                    ends[type(error).__name__] += 1

        threads = [threading.Thread(target=ask) for _ in range(80)]
        for thread in threads:
            thread.start()
        time.sleep(2)
        begun.set()
        for thread in threads:
            thread.join()
    print("   ", dict(ends), flush=True)


def silent(aim: Aim, begun: Event, over: Event) -> None:
    """1,200 connections to each party that say nothing."""
    with ExitStack() as stack:
        for server in (Role.PARTY0, Role.PARTY1):
            host, _, port = aim.addresses[server].rpartition(":")
            for _ in range(1200):
                one = stack.enter_context(socket.socket())
                one.connect((host, int(port)))
        begun.set()
        over.wait()


EVE, CARLA = Identity(Role.CLIENT, "eve"), Identity(Role.CLIENT, "carla")
OTHER_ADMIN = Identity(Role.ADMIN, "alma")
FLOODS: dict[str, tuple[Flood, Identity]] = {
    "idle-client": (idle, EVE),
    "idle-owner": (idle, Identity(Role.OWNER, "eve")),
    "idle-admin": (idle, ADMIN),
    "idle-server": (idle, Identity(Role.PARTY1, Role.PARTY1.value)),
    "asking": (asking, EVE),
    "silent": (silent, EVE),
}


def main() -> None:
    """Measure at rest and with each flood, in turn."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("floods", description=__doc__, formatter_class=form)
    parser.add_argument("floods", nargs="*", default=list(FLOODS), help=", ".join(FLOODS))
    parser.add_argument("--rounds", type=int, default=4, help="times rest and flood; 4")
    parser.add_argument("--first", action="store_true", help="go before what else runs here")
    said = parser.parse_args()
    if said.first:
        _SESSION.write_text(_BEFORE_OTHERS)
    data = digits.load(seed=0)
    spec = preset("subspace32", height=32, width=32, channels=1, components=16)
    settings = settings_for(spec)
    with tempfile.TemporaryDirectory() as folder:
        cohorts = [CohortSetting(COHORT, "subspace32", margin=0.8, components=16)]
        deployment = Deployment(Path(folder), cohorts)
        for server in SERVERS:
            _admit(deployment.config_file(server), OTHER_ADMIN)
        with deployment:
            for digit, images in data.train_images.items():
                ran = fit_ran(images, spec, settings, owner=f"digit-{digit}")
                send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
            with Client(deployment.client_config(CARLA)) as client:
                _seconds(client, data.test_images)
                for name in said.floods:
                    _compare(name, said, deployment, client, data.test_images)


def _admit(config: Path, admin: Identity) -> None:
    """One more admin than those of the deployment."""
    said = config.read_text()
    config.write_text(said.replace("admins = [", f'admins = ["{admin.name}", '))


def _compare(
    name: str, said: argparse.Namespace, deployment: Deployment, client: Client, images: np.ndarray
) -> None:
    rest, during, well = [], [], set()
    before = _threads(deployment)
    for _ in range(said.rounds):
        time.sleep(2)
        rest += _seconds(client, images)
        with _flooded(name, deployment):
            during += _seconds(client, images)
            well |= {_well(deployment, server) for server in SERVERS}
            most = _threads(deployment)
    ratios = [f"{np.percentile(during, p) / np.percentile(rest, p):.2f}" for p in (50, 95)]
    load = os.getloadavg()[0]
    print(f"{name}: {len(rest)} queries each, load {load:.0f}; at rest {_text(rest)}")
    print(f"    during {_text(during)}; health and status answer: {well == {True}}")
    print(f"    p50, p95 as against rest: {ratios}; threads {before} -> {most}", end="", flush=True)
    time.sleep(45)
    print(f" -> {_threads(deployment)} 45 s later", flush=True)


@contextmanager
def _flooded(name: str, deployment: Deployment) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    begun, over = context.Event(), context.Event()
    process = context.Process(target=flood, args=(name, aim(name, deployment), begun, over))
    process.start()
    try:
        while not begun.wait(1):
            if not process.is_alive():
                raise SystemExit(f"floods: {name} did not begin; see the messages above")
        yield
    finally:
        over.set()
        process.join()


def aim(name: str, deployment: Deployment) -> Aim:
    """Return whom a flood meets, with its certificate."""
    addresses = {server: deployment.address(server) for server in SERVERS}
    _, who = FLOODS[name]
    return Aim(addresses, deployment.tls(who), deployment.client_config(EVE, retries=0))


def flood(name: str, aim: Aim, begun: Event, over: Event) -> None:
    """Run one flood with the lowest priority; the target of a process."""
    os.nice(19)
    run, _ = FLOODS[name]
    run(aim, begun, over)


def _seconds(client: Client, images: np.ndarray) -> list[float]:
    taken = []
    for number in range(QUERIES):
        began = time.perf_counter()
        client.identify(images[number : number + 1], COHORT)
        taken.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)
    return taken


def _well(deployment: Deployment, server: Role) -> bool:
    """Whether a client learns that the server serves, and an admin how a party is."""
    address = deployment.address(server)
    with open_channel(address, server=server, tls=deployment.tls(CARLA)) as channel:
        well = serves(channel, "", within_s=5)
    if server is Role.DEALER:
        return well
    with open_channel(address, server=server, tls=deployment.tls(OTHER_ADMIN)) as channel:
        return well and bool(PartyStub(channel).Status(pb.StatusRequest(), timeout=5).release)


def _threads(deployment: Deployment) -> list[int]:
    return [psutil.Process(deployment.processes[server].pid).num_threads() for server in SERVERS]


def _text(seconds: list[float]) -> str:
    p50, p95 = (1000 * np.percentile(seconds, p) for p in (50, 95))
    return f"p50 {p50:.1f} ms, p95 {p95:.1f} ms, most {1000 * max(seconds):.1f} ms"


if __name__ == "__main__":
    main()
