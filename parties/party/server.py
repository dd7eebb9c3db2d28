"""A front end: models and queries behind one gRPC server. Loads neither torch nor CrypTen."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc

from parties.config import PartyConfig
from parties.party.edge.hello import DealerGreeter, Hello
from parties.party.edge.party_servicer import PartyServicer
from parties.party.edge.peer import PeerClient
from parties.party.edge.peer_servicer import PeerServicer
from parties.party.models.service import ModelService
from parties.party.models.state_folder import open_models
from parties.party.models.synchroniser import Synchroniser
from parties.party.queries.counters import Counters
from parties.party.queries.follower import Follower
from parties.party.queries.leader import Leader
from parties.party.queries.runs import Runs
from parties.party.queries.service import QueryService
from parties.party.terms import of_party
from parties.party.workers.processes import WorkerPool
from parties.party.workers.snapshot_feed import SnapshotFeed
from parties.serving.handshake import Handshake
from parties.serving.lifecycle import add_health, add_reflection, run_until_told, set_serving
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel, peer_name
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server
from privedge.rpc.tls import require_role
from privedge.wire import party_pb2, party_pb2_grpc, peer_pb2, peer_pb2_grpc

log = logging.getLogger(__name__)

# Beside a thread for every query there may be: uploads, party 0's watch, operators.
_OTHER_THREADS = 64
_WORKER_START_S = 120.0

PARTY_SERVICE = party_pb2.DESCRIPTOR.services_by_name["Party"].full_name
PEER_SERVICE = peer_pb2.DESCRIPTOR.services_by_name["Peer"].full_name


@dataclass(frozen=True)
class _Party:
    """The parts of a party that its start and its end have to do with."""

    server: grpc.Server
    port: int
    pool: WorkerPool
    side: Leader | Follower
    handshake: Handshake


def serve_party(config: PartyConfig, config_file: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError or CertificateError if it cannot start."""
    with _party(config, config_file) as party:
        statuses = add_health(party.server)
        add_reflection(party.server, [PARTY_SERVICE, PEER_SERVICE])
        party.server.start()
        log.info("party %d: listening on port %d", config.index, party.port)
        ready = Deadline.after(_WORKER_START_S)
        for worker in party.pool.workers:
            worker.wait_ready(ready)
        party.handshake.watch(partial(set_serving, statuses, ("", PARTY_SERVICE)))
        log.info("party %d: ready", config.index)
        run_until_told(party.server, statuses, let_go=party.side.let_go)


@contextmanager
def _party(config: PartyConfig, config_file: Path) -> Iterator[_Party]:
    """Everything a party consists of, wired up; undone in reverse order."""
    role = Role.party(config.index)
    require_role(config.tls, role)
    with ExitStack() as parts:
        stub, peer = parts.enter_context(_party_1(config))
        models = parts.enter_context(open_models(config, peer))
        handshake = Handshake()
        hello = Hello(of_party(config, models.cohorts.values()), handshake)
        threads = config.limits.max_queries + _OTHER_THREADS
        server, port = build_server(config.listen, tls=config.tls, access=ACCESS, threads=threads)
        pool = parts.enter_context(WorkerPool(config_file, config.index, config.workers))
        runs = Runs(models, tally := Counters())
        side: Leader | Follower
        if stub is None:
            side = Follower(pool, runs, late_s=config.timeouts.late_s)
            peer_pb2_grpc.add_PeerServicer_to_server(PeerServicer(models, side, hello), server)
        else:
            side = Leader(config, models, pool, runs, stub, hello)
            parts.enter_context(_synchronised(models))
        side.start()
        parts.callback(side.stop)
        parts.enter_context(_dealer_greeted(config, role, hello))
        queries = QueryService(config, models, pool, tally, side, handshake)
        keepers = parts.enter_context(_keepers(config, models, pool))
        servicer = PartyServicer(models, queries, handshake, keepers)
        party_pb2_grpc.add_PartyServicer_to_server(servicer, server)
        yield _Party(server, port, pool, side, handshake)


@contextmanager
def _party_1(
    config: PartyConfig,
) -> Iterator[tuple[peer_pb2_grpc.PeerStub, PeerClient] | tuple[None, None]]:
    """The other front end as party 0 calls it; nothing at party 1."""
    if config.peer is None:
        yield None, None
        return
    address, claim = config.peer.address, Identity(Role.PARTY0, Role.PARTY0.value)
    channel = open_channel(address, server=Role.PARTY1, tls=config.tls, claim=claim)
    with closing(channel):
        stub = peer_pb2_grpc.PeerStub(channel)
        yield stub, PeerClient(stub, peer_name(Role.PARTY1, address))


@contextmanager
def _dealer_greeted(config: PartyConfig, role: Role, hello: Hello) -> Iterator[None]:
    """Hello is said to the dealer on every connection. Nothing else goes over this channel."""
    claim = Identity(role, role.value)
    channel = open_channel(config.dealer.address, server=Role.DEALER, tls=config.tls, claim=claim)
    with closing(channel):
        greeter = DealerGreeter(channel, hello)
        greeter.start()
        try:
            yield
        finally:
            greeter.stop()


@contextmanager
def _keepers(
    config: PartyConfig, models: ModelService, pool: WorkerPool
) -> Iterator[list[SnapshotFeed]]:
    keepers = [SnapshotFeed(config, models, worker.stub) for worker in pool.workers]
    for keeper in keepers:
        keeper.start()
    try:
        yield keepers
    finally:
        for keeper in keepers:
            keeper.stop()


@contextmanager
def _synchronised(models: ModelService) -> Iterator[None]:
    synchroniser = Synchroniser(models)
    synchroniser.start()
    try:
        yield
    finally:
        synchroniser.stop()
