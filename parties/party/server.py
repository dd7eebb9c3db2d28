"""A front end: models and queries behind one gRPC server. Loads neither torch nor CrypTen."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import grpc

from parties.config.party import PartyConfig
from parties.cores import chosen, stay_on, usable_cores
from parties.dealer_trust import DealerTrust
from parties.party.audit.files import FOLDER
from parties.party.audit.gate import GateWitness
from parties.party.audit.heads import PeerHeads
from parties.party.budgets.budgets import BURST_S
from parties.party.edge.hello import DealerGreeter, Hello
from parties.party.edge.party_servicer import PartyServicer
from parties.party.edge.peer import PeerClient
from parties.party.edge.peer_servicer import PeerServicer
from parties.party.edge.signer import Signer
from parties.party.metrics import PartyMetrics, Watched
from parties.party.models.disk import Disk
from parties.party.models.refresher import Refresher
from parties.party.models.scrubber import Scrubber
from parties.party.models.service import ModelService
from parties.party.models.state_folder import open_models
from parties.party.models.synchroniser import Synchroniser
from parties.party.queries.counters import Counters
from parties.party.queries.enrolment import EnrolmentQueries
from parties.party.queries.follower import Follower
from parties.party.queries.intake import Intake
from parties.party.queries.leader import Leader
from parties.party.queries.model_check import ModelCheckQueries
from parties.party.queries.pending import PendingQuery
from parties.party.queries.runs import Runs
from parties.party.queries.service import QueryService
from parties.party.terms import of_party
from parties.party.workers.messages import AnswerBytes
from parties.party.workers.processes import WorkerPool
from parties.party.workers.snapshot_feed import SnapshotFeed
from parties.periodic import Periodic
from parties.serving.certificate_watch import watch_certificates
from parties.serving.handshake import Handshake
from parties.serving.health import Health
from parties.serving.lifecycle import add_health, add_reflection, run_until_told
from parties.serving.metrics import Metrics
from parties.serving.readiness import Cause, Readiness
from parties.wire import peer_pb2, peer_pb2_grpc
from privedge.identity.roles import Identity, Role
from privedge.rpc.about import add_about
from privedge.rpc.access import ACCESS
from privedge.rpc.admission import Quota
from privedge.rpc.channel import open_channel, peer_name
from privedge.rpc.rates import Rates
from privedge.rpc.server import build_server
from privedge.rpc.tls import require_role
from privedge.wire import party_pb2, party_pb2_grpc

log = logging.getLogger(__name__)

# How often the trash is emptied, and the disk's reserve taken again; never at a start.
_TRASH_S = 600.0
# How soon a model is active that the other operator has released after this one.
_RELEASED_S = 10.0
# Uploads at once, of all owners and of one.
_UPLOADS, _UPLOADS_OF_ONE = 64, 8

PARTY_SERVICE = party_pb2.DESCRIPTOR.services_by_name["Party"].full_name
PEER_SERVICE = peer_pb2.DESCRIPTOR.services_by_name["Peer"].full_name


class _Runnable(Protocol):
    """A part of a party that works in threads of its own."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""


PartT = TypeVar("PartT", bound=_Runnable)


@dataclass(frozen=True)
class _Side:
    """What being party 0 or party 1 comes down to. `answer` waits for the answer share of a query;
    `end_calls` ends the calls that would never finish by themselves; `away`: the other party is.
    """

    answer: Callable[[PendingQuery], AnswerBytes]
    end_calls: Callable[[], None]
    away: Callable[[], bool]


@dataclass(frozen=True)
class Party:
    """The parts of a party that its start and its end need."""

    config: PartyConfig
    server: grpc.Server
    port: int
    side: _Side
    statuses: Health
    readiness: Readiness
    intake: Intake
    metrics: Metrics

    def drain(self, within_s: float) -> None:
        """Take no more queries, and wait for those that are here."""
        self.intake.draining = True
        self.readiness.look()
        self.intake.drain(within_s)

    def start(self) -> None:
        """Listen. From now on the process is alive; what it can do is said service by service."""
        add_about(self.server)
        self.statuses.set_serving([""], True)
        self.server.start()
        log.info("party %d: listening on port %d", self.config.index, self.port)


def serve_party(config: PartyConfig, config_file: Path) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError or CertificateError if it cannot start."""
    # Known to the workers too, which this process starts once it keeps to one core itself.
    cores = usable_cores() if config.one_core_workers else ()
    if cores:
        stay_on(chosen(config.index + config.workers * config.threads, 1, cores))
    with assembled(config, config_file, cores) as party:
        add_reflection(party.server, [PARTY_SERVICE, PEER_SERVICE])
        with party.metrics.served():
            party.start()
            with _running(party.readiness):
                run_until_told(
                    party.server, party.statuses, drain=party.drain, end_calls=party.side.end_calls
                )


@contextmanager
def assembled(
    config: PartyConfig,
    config_file: Path,
    cores: Sequence[int],
    access: Mapping[str, frozenset[Role]] = ACCESS,
) -> Iterator[Party]:
    """Everything a party consists of, wired up; undone in reverse order.

    `access` is the table of its gate. Raises ConfigError or CertificateError.
    """
    require_role(config.tls, Role.party(config.index))
    with ExitStack() as parts:
        peer = parts.enter_context(_party_1(config))
        models = parts.enter_context(open_models(config, peer))
        _caution(config, models)
        heads = parts.enter_context(_audited(config, models, peer))
        handshake = Handshake()
        hello = Hello(of_party(config, models.cohorts.values()), handshake, models.standing)
        metrics = Metrics(f"party {config.index}", config)
        own_metrics = PartyMetrics(metrics, config.state)
        parts.enter_context(_running(Periodic("trash keeper", models.empty_trash, _TRASH_S)))
        server, port = build_server(
            config.listen,
            tls=config.tls,
            access=access,
            quotas=_quotas(config),
            rules=config.caller_rules,
            witness=GateWitness(models.audit),
            ended=metrics.call_ended,
        )
        pool = parts.enter_context(WorkerPool(config, config_file, _workers_on(config, cores)))
        runs = Runs(models, counters := Counters(), own_metrics.measured)
        serve_peer = partial(_serve_peer, server, models, hello, heads)
        side = parts.enter_context(
            _leading(Leader(config, models, pool, runs, peer, hello), models, config)
            if peer is not None
            else _following(Follower(pool, runs, late_s=config.timeouts.late_s), models, serve_peer)
        )
        greeter = parts.enter_context(_dealer_greeted(config, hello))
        intake = Intake(pool.begun, handshake)
        queries = QueryService(config, models, pool, counters, side.answer, intake)
        feeds = parts.enter_context(_feeding(config, models, pool))
        parts.enter_context(_running(Scrubber(models, config.disk.scrub_hours, counters.busy)))
        readiness = Readiness(
            f"party {config.index}",
            PARTY_SERVICE,
            [
                Cause("terms", handshake.fault),
                *_causes(config, pool, side, greeter, feeds),
                Cause("audit", lambda: models.audit.fault() or heads.fault(), blocks=False),
                Cause("quarantine", models.holdings.quarantine_fault, blocks=False),
                Cause("models", models.lists_fault, blocks=False),
                Cause("registry", models.registry_fault, blocks=False),
                Cause("unaudited", _unaudited(config, counters), blocks=False),
                Cause("draining", intake.fault),
            ],
            statuses := add_health(server),
        )
        pool.changed = readiness.look
        handshake.watch(readiness.look)
        party_pb2_grpc.add_PartyServicer_to_server(
            PartyServicer(models, queries, handshake, feeds, readiness, Signer(config.tls)), server
        )
        connected = _connected(side, greeter)
        own_metrics.watch(Watched(models, queries, intake, pool, feeds, connected))
        metrics.read_readiness(readiness)
        yield Party(config, server, port, side, statuses, readiness, intake, metrics)


def _caution(config: PartyConfig, models: ModelService) -> None:
    """Say what an operator should know of the settings and the cohorts, a line each."""
    if config.randomness == "two-party":
        log.warning(
            "randomness = two-party is experimental: its cryptography was not reviewed from outside"
        )
    for snapshot in models.snapshots():
        for line in snapshot.cohort.cautions(len(snapshot.models)):
            log.warning(line)
        if line := snapshot.cohort.unchecked:
            log.info(line)


def _unaudited(config: PartyConfig, counters: Counters) -> Callable[[], str]:
    """The cause of it, unless this operator's file says that nothing is audited."""
    pool = config.pool
    dealt = config.engine == "fused" and config.randomness == "dealer"
    audits = dealt and pool.bundles and pool.opened
    return counters.unaudited.fault if audits else str


def _workers_on(config: PartyConfig, cores: Sequence[int]) -> list[Sequence[int]]:
    """The cores of each worker, if there are any to choose: two parties on one machine take
    different ones.
    """
    return [
        chosen(config.index + slot, config.threads, cores) if cores else ()
        for slot in range(config.workers)
    ]


def _causes(
    config: PartyConfig,
    pool: WorkerPool,
    side: _Side,
    greeter: DealerGreeter | None,
    feeds: Sequence[SnapshotFeed],
) -> list[Cause]:
    """What a party needs beside terms. With bundles it can serve for a while without the dealer.

    Begins to watch its certificate.
    """
    other = Role.party(1 - config.index).label

    return [
        Cause("worker", pool.fault),
        Cause("peer", lambda: f"{other} is not connected" if side.away() else ""),
        *(_causes_of_dealer(config, greeter, feeds) if greeter is not None else []),
        Cause("disk", Disk(config.state, config.disk).fault, blocks=False),
        Cause("certificate", watch_certificates(config.tls).fault, blocks=False),
    ]


def _connected(side: _Side, greeter: DealerGreeter | None) -> dict[str, Callable[[], bool]]:
    """Whether each other server is connected."""
    connected: dict[str, Callable[[], bool]] = {"peer": lambda: not side.away()}
    if greeter is not None:
        connected["dealer"] = lambda: greeter.connected
    return connected


def _causes_of_dealer(
    config: PartyConfig, greeter: DealerGreeter, feeds: Sequence[SnapshotFeed]
) -> list[Cause]:
    def no_randomness() -> str:
        ready = any(level.ready for feed in feeds for level in feed.levels)
        return "no bundle is left, and the dealer is away" if greeter.fault() and not ready else ""

    return [
        Cause("dealer", greeter.fault, blocks=False),
        Cause("randomness", no_randomness),
        Cause("dealt", DealerTrust(config.state).fault),
    ]


def _quotas(config: PartyConfig) -> Mapping[str, Quota]:
    limits, query_s = config.limits, config.query_deadline_s
    rate = config.budgets.queries_per_second
    uploads = Quota("uploads", _UPLOADS, _UPLOADS_OF_ONE, limits.upload_deadline_s)
    return {
        # Reading and computing may take `query_s`, and so may the sending of the answer.
        "/privedge.v1.Party/Query": Quota(
            "queries",
            limits.max_queries,
            limits.max_queries_per_client,
            2 * query_s,
            Rates(rate, max(1, BURST_S * rate)) if rate else None,
        ),
        "/privedge.v1.Party/UploadModel": uploads,
        "/privedge.v1.Party/UploadModels": uploads,
        "/privedge.v1.Party/ActivateModels": uploads,
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
def _audited(
    config: PartyConfig, models: ModelService, peer: PeerClient | None
) -> Iterator[PeerHeads]:
    """The audit log is written, and at party 0 its head exchanged with party 1."""
    heads = PeerHeads(models.audit, config.state / FOLDER, 1 - config.index)
    models.audit.each_time(models.asked.close)
    if peer is not None:
        models.audit.each_time(partial(heads.exchange, peer.exchange_heads))
    with _running(models.audit):
        yield heads


@contextmanager
def _leading(leader: Leader, models: ModelService, config: PartyConfig) -> Iterator[_Side]:
    """Party 0. All calls to it end by themselves."""
    models.enrolments.ask = EnrolmentQueries(leader.answer).ask
    models.checks.ask = ModelCheckQueries(leader.answer, party=0).ask
    refresher = Refresher(models, config.at_rest.refresh_hours)
    # The other operator may have released a model, which only party 1 knows.
    releasing = Periodic("released models", models.activate_released, _RELEASED_S)
    with (
        _running(Synchroniser(models)),
        _running(leader),
        _running(refresher),
        _running(releasing),
    ):
        yield _Side(leader.answer, lambda: None, lambda: not leader.connected)


@contextmanager
def _following(
    follower: Follower, models: ModelService, serve_peer: Callable[[Follower], object]
) -> Iterator[_Side]:
    """Party 1. Party 0's watch would go on for ever."""
    models.quarantine.watch(follower.say_damaged)
    models.enrolments.ask = EnrolmentQueries(follower.answer).ask
    models.checks.ask = ModelCheckQueries(follower.answer, party=1).ask
    serve_peer(follower)
    with _running(follower):
        yield _Side(follower.answer, follower.end_watch, lambda: not models.standing.is_watched)


def _serve_peer(
    server: grpc.Server, models: ModelService, hello: Hello, heads: PeerHeads, follower: Follower
) -> None:
    servicer = PeerServicer(models, follower, hello, heads)
    peer_pb2_grpc.add_PeerServicer_to_server(servicer, server)


@contextmanager
def _feeding(
    config: PartyConfig, models: ModelService, pool: WorkerPool
) -> Iterator[Sequence[SnapshotFeed]]:
    """Every worker is told of the models."""
    with ExitStack() as running:
        feeds = [SnapshotFeed(config, models, worker.client) for worker in pool.workers]
        for feed in feeds:
            running.enter_context(_running(feed))
        yield feeds


@contextmanager
def _dealer_greeted(config: PartyConfig, hello: Hello) -> Iterator[DealerGreeter | None]:
    """Hello is said to the dealer on every connection. Nothing else goes over this channel. None
    where there is no dealer.
    """
    if config.dealer is None:
        yield None
        return
    role = Role.party(config.index)
    claim = Identity(role, role.value)
    channel = open_channel(config.dealer.address, server=Role.DEALER, tls=config.tls, claim=claim)
    greeter = DealerGreeter(channel, hello)
    with closing(channel), _running(greeter):
        yield greeter


@contextmanager
def _running(part: PartT) -> Iterator[PartT]:
    part.start()
    try:
        yield part
    finally:
        part.stop()
