"""The worker process: `python -m parties worker`, started and watched by its front end.

It serves its front end on a Unix socket in a private folder and, at party 1, party 0's worker on
the MPC port. It ends when its standard input ends, so it never outlives its front end.
"""

import gc
import sys
from pathlib import Path

import grpc
import torch

from parties.config import PartyConfig
from parties.worker.computation import Computation
from parties.worker.meeting import Acceptor, Dialer
from parties.worker.mpc_servicer import MpcServicer
from parties.worker.preprocessing.leader import PoolLeader
from parties.worker.preprocessing.pool import Pool
from parties.worker.preprocessing.prepare import Preparer
from parties.worker.preprocessing.targets import PoolTargets
from parties.worker.scheduler import Scheduler
from parties.worker.servicer import WorkerServicer
from parties.worker.sessions import Sessions
from parties.worker.snapshot_cache import SnapshotCache
from parties.worker.task import Method
from parties.worker.weights import Weights
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.ports import shifted
from privedge.rpc.server import build_server
from privedge.wire import mpc_pb2_grpc, worker_pb2_grpc

_THREADS = 8


def serve(config: PartyConfig, slot: int, socket: Path) -> None:
    """Run until standard input ends. Raises ConfigError or CertificateError."""
    torch.set_num_threads(1)
    me = Identity(Role.PARTY0 if config.index == 0 else Role.PARTY1, f"party{config.index}")
    dealer = open_channel(config.dealer.address, server=Role.DEALER, tls=config.tls, claim=me)
    peer = _peer(config, slot, me)
    pool, turns = Pool(config.pool.memory_mib << 20), Scheduler()
    method = Method(config.engine, config.rounding)
    # One more than are in use at once: while models change, queries are asked of both.
    keep = len(config.cohorts) + 1
    wishes = PoolTargets(config.pool, method, SnapshotCache(keep=2 * keep), pool.wake)
    meeting = Dialer(peer) if isinstance(peer, mpc_pb2_grpc.MpcStub) else peer
    sessions = Sessions(config.index, dealer, meeting, pool, keep=keep)
    computation = Computation(sessions, Weights(config.index, keep=keep))
    preparer = Preparer(sessions, computation, pool, turns)
    runner = WorkerServicer(computation, pool, turns, wishes, method=method, settings=config.pool)
    local, _ = build_server(f"unix:{socket}", tls=None, access=ACCESS, threads=_THREADS)
    worker_pb2_grpc.add_WorkerServicer_to_server(runner, local)
    # Held until the end: gRPC closes a server that nobody refers to.
    servers = [local]
    if isinstance(peer, Acceptor):
        servers.append(_outside(config, slot, MpcServicer(peer, preparer, pool, turns, wishes)))
    else:
        PoolLeader(peer, preparer, pool, turns, wishes, config.pool).start()
    for server in servers:
        server.start()
    # What is there now stays: collecting it again and again would only make runs wait.
    gc.collect()
    gc.freeze()
    sys.stdin.buffer.read()
    # Calls that last as long as both ends (Keep, Prepare) would keep the process alive.
    for server in servers:
        server.stop(None)


def _peer(config: PartyConfig, slot: int, me: Identity) -> mpc_pb2_grpc.MpcStub | Acceptor:
    """The other party's worker as this one sees it."""
    if not config.mpc.address:
        return Acceptor()
    address = shifted(config.mpc.address, slot)
    channel = open_channel(address, server=Role.PARTY1, tls=config.tls, claim=me)
    return mpc_pb2_grpc.MpcStub(channel)


def _outside(config: PartyConfig, slot: int, follower: MpcServicer) -> grpc.Server:
    """Party 1: where party 0's worker calls."""
    listen = shifted(config.mpc.listen or "", slot)
    outside, _ = build_server(listen, tls=config.tls, access=ACCESS, threads=_THREADS)
    mpc_pb2_grpc.add_MpcServicer_to_server(follower, outside)
    return outside
