"""The worker process: `python -m parties worker`, started and watched by its front end.

It serves its front end on a Unix socket in a private folder and, at party 1, party 0's worker on
the MPC port, once a line on its standard input tells it to. It ends when its standard input ends,
so it never outlives its front end.
"""

import gc
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import torch

from parties.at_rest.vault import Vault
from parties.config.party import PartyConfig
from parties.dealer_trust import DealerTrust
from parties.mpc.compiled import compiler, threads
from parties.mpc.twoparty import ring
from parties.mpc.twoparty.learned import KeptWeights
from parties.serving.certificate_watch import watch_certificates
from parties.wire import mpc_pb2_grpc, worker_pb2_grpc
from parties.worker.computation import Computation
from parties.worker.heartbeat import Heartbeat
from parties.worker.meeting import Acceptor, Dialer, Meeting
from parties.worker.mpc_servicer import MpcServicer
from parties.worker.preprocessing.follower import PoolFollower
from parties.worker.preprocessing.leader import PoolLeader
from parties.worker.preprocessing.making import TwoPartyMaker
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.prepare import Preparer
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.score_tally import ScoreTally
from parties.worker.servicer import WorkerServicer
from parties.worker.sessions import Sessions
from parties.worker.snapshot_cache import SnapshotCache
from parties.worker.task import Method
from parties.worker.weights import Weights
from privedge.identity.roles import Identity, Role
from privedge.rpc.about import add_about
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.ports import shifted
from privedge.rpc.renewal import epoch_of
from privedge.rpc.server import build_server


@dataclass(frozen=True)
class _Parts:
    """What both parties' workers consist of, beside the way in which they meet."""

    servicer: WorkerServicer
    preparer: Preparer
    pool: Pool
    scheduler: Scheduler
    targets: PoolTargets


def serve(config: PartyConfig, slot: int, socket: Path) -> None:
    """Run until standard input ends. Raises ConfigError or CertificateError."""
    heartbeat = Heartbeat()
    torch.set_num_threads(1)
    threads.use(config.threads)
    # Before this worker says that it serves: no query waits for a compiler.
    compiler.prepare()
    if not sys.stdin.buffer.readline():  # a spare that was never needed
        return
    # The list is held until the end, because gRPC closes a server that nobody refers to.
    servers = _party0(config, slot, socket) if config.index == 0 else _party1(config, slot, socket)
    for server in servers:
        server.start()
    watch_certificates(config.tls)
    heartbeat.start()
    # Collecting what is there now again and again would only delay runs.
    gc.collect()
    gc.freeze()
    sys.stdin.buffer.read()
    # Calls that last as long as both ends (Keep, Prepare) would keep the process alive.
    for server in servers:
        server.stop(None)


def _party0(config: PartyConfig, slot: int, socket: Path) -> list[grpc.Server]:
    """Dial party 1's worker, and lead."""
    address = shifted(config.mpc.address or "", slot)
    channel = open_channel(address, server=Role.PARTY1, tls=config.tls, claim=_identity(config))
    stub = mpc_pb2_grpc.MpcStub(channel)
    epoch = partial(epoch_of, channel)
    # Bundles are made on a call of their own, beside that of queries.
    parts = _parts(config, Dialer(stub, epoch), Dialer(stub, epoch))
    pool_leader = PoolLeader(
        stub,
        parts.preparer,
        parts.pool,
        parts.scheduler,
        parts.targets,
        config.pool,
    )
    pool_leader.start()
    return [_inside(parts, socket)]


def _party1(config: PartyConfig, slot: int, socket: Path) -> list[grpc.Server]:
    """Let party 0's worker dial, and follow."""
    acceptor = Acceptor()
    parts = _parts(config, acceptor, acceptor)
    pool_follower = PoolFollower(parts.preparer, parts.pool, parts.scheduler, parts.targets)
    listen = shifted(config.mpc.listen or "", slot)
    outside, _ = build_server(listen, tls=config.tls, access=ACCESS, rules=config.caller_rules)
    add_about(outside)
    mpc_pb2_grpc.add_MpcServicer_to_server(MpcServicer(acceptor, pool_follower), outside)
    return [_inside(parts, socket), outside]


def _parts(config: PartyConfig, meeting: Meeting, making: Meeting) -> _Parts:
    """`making`: how the workers meet to make bundles themselves."""
    me = _identity(config)
    if config.randomness == "two-party":
        ring.check()
    dealer = (
        open_channel(config.dealer.address, server=Role.DEALER, tls=config.tls, claim=me)
        if config.dealer
        else None
    )
    pool, scheduler = Pool(config.pool.memory_mib << 20), Scheduler()
    method = Method(config.engine, config.rounding, config.randomness)
    # One more than are in use at once: while models change, queries ask for both snapshots.
    keep = len(config.cohorts) + 1
    targets = PoolTargets(config.pool, method, SnapshotCache(keep=2 * keep), pool.wake)
    trust = DealerTrust(config.state)
    learned = KeptWeights(config.pool.hint_mib << 20)
    sessions = Sessions(config.index, dealer or learned, meeting, pool, keep=keep, trust=trust)
    weights = Weights(Vault.of(config), keep=keep, found=pool.wake)
    computation = Computation(sessions, weights, ScoreTally(config.state), config.pool)
    maker = None if dealer else TwoPartyMaker(config.index, making, learned)
    preparer = Preparer(sessions, computation, pool, scheduler, maker)
    servicer = WorkerServicer(
        computation, pool, scheduler, targets, method=method, settings=config.pool
    )
    return _Parts(servicer, preparer, pool, scheduler, targets)


def _identity(config: PartyConfig) -> Identity:
    role = Role.party(config.index)
    return Identity(role, role.value)


def _inside(parts: _Parts, socket: Path) -> grpc.Server:
    """The server for this worker's own front end."""
    inside, _ = build_server(f"unix:{socket}", tls=None, access=ACCESS)
    worker_pb2_grpc.add_WorkerServicer_to_server(parts.servicer, inside)
    return inside
