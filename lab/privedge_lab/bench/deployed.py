"""Measure one of our own engines: a deployment, a client, and a view of its pools."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from privedge.arrays import Inputs
from privedge.client.query import Client
from privedge.errors import DeadlineExceeded
from privedge.identity.roles import Role
from privedge.local.deployment import ADMIN, Deployment
from privedge.progress import Progress
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.rpc.channel import open_party
from privedge.rpc.status import calls_to
from privedge.sharing.cost import Cost
from privedge.user.checkpoint import Ran
from privedge.wire import party_pb2 as pb
from privedge.wire import party_pb2_grpc
from privedge_lab.bench import system
from privedge_lab.bench.processes import Processes
from privedge_lab.bench.rows import AtClient, PartyCost, Sample

_WARM_WITHIN_S = 300.0
# A limit on memory can keep a pool below its full size; a query needs only one bundle.
_UNCHANGED_S = 30.0
# A party may let a cohort settle before it prepares anything. With some settings, it prepares
# nothing.
_LISTED_WITHIN_S = 3.0
# A worker reports to its front end what a query used of the pool, unless another query follows at
# once.
_SHOWS_WITHIN_S = 0.2
# Each look costs the front ends a millisecond, which counts as their time.
_LOOK_EVERY_S = 0.02
_STATUS_S = 10.0

# The level of a pool: how many bundles it has ready, and how many it wants.
Level = tuple[int, int]


class Deployed:
    """Answer queries by number. Between two queries, wait until the pools are full again."""

    def __init__(
        self,
        deployment: Deployment,
        client: Client,
        batches: Sequence[Inputs],
        pools: "Pools | None",
    ) -> None:
        """`pools` are the pools to wait for, if any."""
        self._processes = Processes.of(deployment)
        self._pools = pools
        self._client = client
        self._batches = batches
        self._before = self._processes.cpu_s()

    def ask(self, number: int) -> Sample:
        """Ask, then wait for the pools. Raises DeadlineExceeded, or the error of a refusal."""
        mine, started = time.process_time(), time.perf_counter()
        reply = self._client.identify(self._batches[number], system.COHORT)
        seconds, my_cpu_s = time.perf_counter() - started, time.process_time() - mine
        if self._pools is not None:
            if number == 0:
                self._pools.wait_listed()
            self._pools.wait_full()
        cpu_s = self._spent()
        first, second = reply.costs
        made_s = max(first.offline_s, second.offline_s)
        return Sample(
            owners=[answer.owner for answer in reply.answers],
            rounds=max(first.rounds, second.rounds),
            parties=(_party(first), _party(second)),
            cpu_s=cpu_s,
            # Without a dealer it is the costlier party's, in processor seconds as it says them.
            offline_cpu_s=cpu_s.get("dealer", made_s),
            offline_s=made_s,
            phases=first.phases,
            client=AtClient(
                seconds, reply.seconds, my_cpu_s, reply.bytes_sent + reply.bytes_received
            ),
        )

    def _spent(self) -> Mapping[str, float]:
        """Return the CPU seconds since the last call."""
        before, self._before = self._before, self._processes.cpu_s()
        return {kind: now - before[kind] for kind, now in self._before.items()}


class Pools:
    """What both parties report as prepared for the bench's cohort."""

    def __init__(self, deployment: Deployment) -> None:
        config = deployment.client_config(ADMIN)
        self._parties = [
            (party.label, party_pb2_grpc.PartyStub(open_party(config, party)))
            for party in (Role.PARTY0, Role.PARTY1)
        ]
        self._full: Sequence[Level] = ()

    def wait_full(self) -> None:
        """Wait as `until_full` does for both parties' pools. Raises DeadlineExceeded."""
        self._full = until_full(
            lambda: [(pool.ready, pool.wanted) for pool in self._listed()], self._full
        )

    def wait_listed(self) -> None:
        """Return once both parties list a pool, or after enough time for it."""
        ends = time.monotonic() + _LISTED_WITHIN_S
        while not all(map(self._of, self._parties)) and time.monotonic() < ends:
            time.sleep(_LOOK_EVERY_S)

    def _listed(self) -> list[pb.Pool]:
        """Return both parties' pools of the bench's cohort."""
        return [pool for party in self._parties for pool in self._of(party)]

    def _of(self, party: tuple[str, Any]) -> list[pb.Pool]:
        name, stub = party
        with calls_to(name):
            status: pb.StatusResponse = stub.Status(pb.StatusRequest(), timeout=_STATUS_S)
        return [pool for pool in status.pools if pool.cohort == system.COHORT]


def until_full(
    levels: Callable[[], Sequence[Level]], full: Sequence[Level] = ()
) -> Sequence[Level]:
    """Return the levels once every pool is full, or holds something and no longer grows.

    If there is no pool, return soon. `levels` returns the present levels. `full` is the result of
    an earlier call: if a limit on memory allowed no more then, this call does not wait for more.
    Raises DeadlineExceeded.
    """
    ends = time.monotonic() + _WARM_WITHIN_S
    before: Sequence[Level] = ()
    unchanged_since = time.monotonic()
    time.sleep(_SHOWS_WITHIN_S)
    while time.monotonic() < ends:
        time.sleep(_LOOK_EVERY_S)
        now = levels()
        if now != before:
            before, unchanged_since = now, time.monotonic()
        settled = time.monotonic() > unchanged_since + _UNCHANGED_S
        if len(full) == len(now) and all(map(_at_least, now, full)):
            return full
        if all(ready >= wanted or (settled and ready) for ready, wanted in now):
            return now
    raise DeadlineExceeded(
        f"the pools are not full after {_WARM_WITHIN_S:.0f} seconds; try --pool empty"
    )


def _at_least(now: Level, then: Level) -> bool:
    return now[0] >= then[0] and now[1] == then[1]


@contextmanager
def running(
    engine: str,
    setting: system.Setting,
    models: Sequence[Ran],
    batches: Sequence[Inputs],
    progress: Progress,
    *,
    files: PublicFiles = NO_FILES,
) -> Iterator[Deployed]:
    """Run a deployment with `models` in it, to be asked about `batches` with these `files`."""
    with system.running(models[0].spec, engine, setting) as deployment:
        system.fill(deployment, models, progress)
        pools = Pools(deployment) if setting.pool == "warm" else None
        with Client(system.client_config(deployment, files)) as client:
            yield Deployed(deployment, client, batches, pools)


def _party(cost: Cost) -> PartyCost:
    return PartyCost(
        queue_s=cost.queue_s,
        load_s=cost.load_s,
        online_s=cost.online_s,
        bytes_to_peer=cost.bytes_to_peer,
        bytes_from_dealer=cost.bytes_from_dealer,
    )
