"""The worker process: `python -m parties worker`, started and watched by its front end.

It serves its front end on a Unix socket in a private folder and, at party 1, party 0's worker on
the MPC port. It ends when its standard input ends, so it never outlives its front end.
"""

import sys
from pathlib import Path

import torch

from parties.config import PartyConfig
from parties.worker.peer_stream import Lobby
from parties.worker.runner import Runner
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
    if config.mpc.address:
        address = shifted(config.mpc.address, slot)
        channel = open_channel(address, server=Role.PARTY1, tls=config.tls, claim=me)
        peer: mpc_pb2_grpc.MpcStub | Lobby = mpc_pb2_grpc.MpcStub(channel)
    else:
        peer = Lobby()
    runner = Runner(config.index, dealer, peer, config.engine, config.rounding)
    local, _ = build_server(f"unix:{socket}", tls=None, access=ACCESS, threads=_THREADS)
    worker_pb2_grpc.add_WorkerServicer_to_server(runner, local)
    if isinstance(peer, Lobby) and config.mpc.listen:
        listen = shifted(config.mpc.listen, slot)
        outside, _ = build_server(listen, tls=config.tls, access=ACCESS, threads=_THREADS)
        mpc_pb2_grpc.add_MpcServicer_to_server(peer, outside)
        outside.start()
    local.start()
    sys.stdin.buffer.read()
