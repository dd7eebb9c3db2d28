"""A front end: models and queries behind one gRPC server. Loads neither torch nor CrypTen."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import grpc

from parties.config import PartyConfig
from parties.cores import chosen, stay_on, usable_cores
from parties.party.edge.hello import DealerGreeter, Hello
from parties.party.edge.party_servicer import PartyServicer
from parties.party.edge.peer import PeerClient
from parties.party.edge.peer_servicer import PeerServicer
from parties.party.models.scrubber import Scrubber
from parties.party.models.service import ModelService
from parties.party.models.state_folder import open_models
from parties.party.models.synchroniser import Synchroniser
from parties.party.models.trash_keeper import TrashKeeper
from parties.party.queries.counters import Counters
from parties.party.queries.follower import Follower
from parties.party.queries.leader import Leader
from parties.party.queries.pending import PendingQuery
from parties.party.queries.runs import Runs
from parties.party.queries.service import QueryService
from parties.party.terms import of_party
from parties.party.workers.messages import AnswerBytes
from parties.party.workers.processes import WorkerPool
from parties.party.workers.snapshot_feed import SnapshotFeed
from parties.serving.certificate_watch import watch_certificates
from parties.serving.handshake import Handshake
from parties.serving.lifecycle import add_health, add_reflection, run_until_told
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.admission import Quota
from privedge.rpc.channel import open_channel, peer_name
from privedge.rpc.deadline import Deadline
from privedge.rpc.server import build_server
from privedge.rpc.tls import require_role
from privedge.wire import party_pb2, party_pb2_grpc, peer_pb2, peer_pb2_grpc

log = logging.getLogger(__name__)

# Uploads at once, of all owners and of one.
_UPLOADS, _UPLOADS_OF_ONE = 64, 8
_WORKER_START_S = 120.0

PARTY_SERVICE = party_pb2.DESCRIPTOR.services_by_name["Party"].full_name
PEER_SERVICE = peer_pb2.DESCRIPTOR.services_by_name["Peer"].full_name


class _Runnable(Protocol):
    """A part of a party that works in threads of its own."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""


@dataclass(frozen=True)
class _Side:
    """What being party 0 or party 1 comes down to. `answer` waits for the answer share of a query;
    `end_calls` ends the calls that would never finish by themselves.
    """

    answer: Callable[[PendingQuery], AnswerBytes]
    end_calls: Callable[[], None]


@dataclass(frozen=True)
class _Party:
    """The parts of a party that its start and its end need."""

    server: grpc.Server
    port: int
    pool: WorkerPool
    side: _Side
    handshake: Handshake


def serve_party(config: PartyConfig, config_file: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError or CertificateError if it cannot start."""
    # Known to the workers too, which this process starts once it keeps to one core itself.
    cores = usable_cores() if config.one_core_workers else ()
    if cores:
        stay_on(chosen(config.index + config.workers * config.threads, 1, cores))
    with _party(config, config_file, cores) as party:
        statuses = add_health(party.server)
        add_reflection(party.server, [PARTY_SERVICE, PEER_SERVICE])
        party.server.start()
        watch_certificates(config.tls)
        log.info("party %d: listening on port %d", config.index, party.port)
        ready = Deadline.after(_WORKER_START_S)
        for worker in party.pool.workers:
            worker.wait_ready(ready)
        party.handshake.watch(partial(statuses.set_serving, ("", PARTY_SERVICE)))
        log.info("party %d: ready", config.index)
        run_until_told(party.server, statuses, end_calls=party.side.end_calls)


@contextmanager
def _party(config: PartyConfig, config_file: Path, cores: Sequence[int]) -> Iterator[_Party]:
    """Everything a party consists of, wired up; undone in reverse order."""
    require_role(config.tls, Role.party(config.index))
    with ExitStack() as parts:
        peer = parts.enter_context(_party_1(config))
        models = parts.enter_context(open_models(config, peer))
        handshake = Handshake()
        terms = of_party(config, models.cohorts.values())
        hello = Hello(terms, handshake, models.standing)
        parts.enter_context(_running(TrashKeeper(models)))
        server, port = build_server(
            config.listen,
            tls=config.tls,
            access=ACCESS,
            quotas=_quotas(config),
            rules=config.caller_rules,
        )
        # Two parties on one machine take different cores.
        taken = [
            chosen(config.index + slot, config.threads, cores) if cores else ()
            for slot in range(config.workers)
        ]
        pool = parts.enter_context(WorkerPool(config_file, config.index, taken))
        runs = Runs(models, counters := Counters())
        if peer is None:
            follower = Follower(pool, runs, late_s=config.timeouts.late_s)
            models.quarantine.watch(follower.say_damaged)
            side = parts.enter_context(_following(follower))
            servicer = PeerServicer(models, follower, hello)
            peer_pb2_grpc.add_PeerServicer_to_server(servicer, server)
        else:
            leader = Leader(config, models, pool, runs, peer, hello)
            side = parts.enter_context(_leading(leader, models))
        parts.enter_context(_dealer_greeted(config, hello))
        queries = QueryService(config, models, pool, counters, side.answer, handshake)
        feeds = [SnapshotFeed(config, models, worker.client) for worker in pool.workers]
        for feed in feeds:
            parts.enter_context(_running(feed))
        parts.enter_context(_running(Scrubber(models, config.disk.scrub_hours, counters.busy)))
        party_servicer = PartyServicer(models, queries, handshake, feeds)
        party_pb2_grpc.add_PartyServicer_to_server(party_servicer, server)
        yield _Party(server, port, pool, side, handshake)


def _quotas(config: PartyConfig) -> Mapping[str, Quota]:
    limits, query_s = config.limits, config.query_deadline_s
    return {
        # Reading and computing may take `query_s`, and so may the sending of the answer.
        "/privedge.v1.Party/Query": Quota(
            "queries", limits.max_queries, limits.max_queries_per_client, 2 * query_s
        ),
        "/privedge.v1.Party/UploadModel": Quota(
            "uploads", _UPLOADS, _UPLOADS_OF_ONE, limits.upload_deadline_s
        ),
    }


@contextmanager
def _party_1(config: PartyConfig) -> Iterator[PeerClient | None]:
    """The other front end as party 0 calls it; None at party 1."""
    if config.peer is None:
        yield None
        return
    address, claim = config.peer.address, Identity(Role.PARTY0, Role.PARTY0.value)
    channel = open_channel(address, server=Role.PARTY1, tls=config.tls, claim=claim)
    with closing(channel):
        yield PeerClient(peer_pb2_grpc.PeerStub(channel), peer_name(Role.PARTY1, address))


@contextmanager
def _leading(leader: Leader, models: ModelService) -> Iterator[_Side]:
    """Party 0. All calls to it end by themselves."""
    with _running(Synchroniser(models)), _running(leader):
        yield _Side(leader.answer, lambda: None)


@contextmanager
def _following(follower: Follower) -> Iterator[_Side]:
    """Party 1. Party 0's watch would go on for ever."""
    with _running(follower):
        yield _Side(follower.answer, follower.end_watch)


@contextmanager
def _dealer_greeted(config: PartyConfig, hello: Hello) -> Iterator[None]:
    """Hello is said to the dealer on every connection. Nothing else goes over this channel."""
    role = Role.party(config.index)
    claim = Identity(role, role.value)
    channel = open_channel(config.dealer.address, server=Role.DEALER, tls=config.tls, claim=claim)
    with closing(channel), _running(DealerGreeter(channel, hello)):
        yield


@contextmanager
def _running(part: _Runnable) -> Iterator[None]:
    part.start()
    try:
        yield
    finally:
        part.stop()
