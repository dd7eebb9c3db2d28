"""The trusted dealer: a third operator that supplies correlated randomness and sees no data.

It receives two seeds for each session, counters, kinds and shapes. It keeps the counters of running
sessions and the ids of recent ones in memory, so that no counter is ever served twice. It also
keeps the masks of weights, which many sessions share.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc
import torch

from parties import tuple_codec
from parties.config.dealer import DealerConfig, DealerLimits
from parties.dealer_metrics import DealerMetrics
from parties.mpc.compiled import compiler
from parties.mpc.dealing import Dealer, SessionId
from parties.mpc.prg import SEED_BYTES
from parties.mpc.weight_masks import WeightMasks
from parties.remembered import Remembered
from parties.serving.certificate_watch import watch_certificates
from parties.serving.handshake import Handshake, Heard
from parties.serving.lifecycle import add_health, add_reflection, run_until_told
from parties.serving.metrics import Metrics
from parties.serving.readiness import Cause, Readiness
from parties.serving.versions import from_wire, to_wire
from parties.wire import dealer_pb2 as pb
from parties.wire import dealer_pb2_grpc
from privedge import traces
from privedge.errors import AlreadyExists, Busy, DeadlineExceeded, ShareError, Unreachable
from privedge.identity.roles import Role
from privedge.rpc import versions
from privedge.rpc.about import add_about
from privedge.rpc.access import ACCESS
from privedge.rpc.chunks import cut
from privedge.rpc.server import build_server, caller
from privedge.rpc.tls import require_role

log = logging.getLogger(__name__)

DEALER_SERVICE = pb.DESCRIPTOR.services_by_name["Dealer"].full_name

_SESSION_BYTES = 16
_REMEMBERED_SESSIONS = 1 << 16
# Small parts of corrections share a message up to so many bytes of words. Larger messages would
# keep a party waiting for the first of them.
_SHARED_BYTES = 1 << 16

# A counter, some of its words, and whether they are the last.
_Part = tuple[int, bytes, bool]


@dataclass(frozen=True)
class _Seeds:
    """One party's seeds: for the session, and for the masks of weights (None if not given)."""

    session: bytes = field(repr=False)
    weights: bytes | None = field(repr=False)


@dataclass
class _Pairing:
    """Both parties' sides of one session. Seeds are secret, so they have no repr."""

    seeds: dict[int, _Seeds] = field(default_factory=dict, repr=False)
    dealer: Dealer | None = field(default=None, repr=False)
    left: bool = False


class Sessions:
    """The running sessions, and the ids that were used before. Thread-safe."""

    def __init__(self, limits: DealerLimits, *, pairing_s: float) -> None:
        """Make an empty set. One side of a session waits `pairing_s` seconds for the other."""
        self._limits = limits
        self._pairing_s = pairing_s
        self._changed = threading.Condition()
        self._running: dict[SessionId, _Pairing] = {}
        self._past = Remembered(_REMEMBERED_SESSIONS)
        self._masks = WeightMasks(limits.weight_cache_mib << 20)

    def running(self) -> int:
        """How many sessions run now, those included that wait for their second side."""
        with self._changed:
            return len(self._running)

    @contextmanager
    def joined(
        self, run: SessionId, party: int, seeds: _Seeds, context: grpc.ServicerContext
    ) -> Iterator[Dealer]:
        """Wait for the other party's side of `run`, and yield the dealer of the session.

        The session ends when one side leaves, also if that side is still waiting. Raises
        AlreadyExists for a session or side opened before, LimitExceeded, DeadlineExceeded if the
        other party does not open the session, and Unreachable if a party left it.
        """
        pairing = self._open(run, party, seeds)
        # Without this callback, a thread and a session's place would wait for a party that left.
        leave = partial(self._leave, run, pairing)
        if not context.add_callback(leave):  # the call has ended already
            leave()
        try:
            yield self._complete(pairing)
        finally:
            leave()

    def _open(self, run: SessionId, party: int, seeds: _Seeds) -> _Pairing:
        with self._changed:
            pairing = self._running.get(run)
            if run.session in self._past or (pairing and party in pairing.seeds):
                raise AlreadyExists("this session was opened before")
            if pairing is None:
                if len(self._running) >= self._limits.max_sessions:
                    raise Busy("too many sessions at once")
                pairing = self._running[run] = _Pairing()
            pairing.seeds[party] = seeds
            if len(pairing.seeds) == 2:
                pairing.dealer = self._dealer(run, pairing)
            self._changed.notify_all()
        return pairing

    def _complete(self, pairing: _Pairing) -> Dealer:
        with self._changed:
            self._changed.wait_for(lambda: pairing.dealer or pairing.left, self._pairing_s)
            # The other party may have been served in full, and left, before this thread woke up.
            if pairing.dealer is not None:
                return pairing.dealer
            if pairing.left:
                raise Unreachable("a party left the session")
            raise DeadlineExceeded("the other party did not open the session")

    def _dealer(self, run: SessionId, pairing: _Pairing) -> Dealer:
        first, second = pairing.seeds[0], pairing.seeds[1]
        weights = None
        if first.weights is not None and second.weights is not None:
            weights = (first.weights, second.weights)
        limit, seeds = self._limits.max_elements, (first.session, second.session)
        return Dealer(run, seeds, weights, max_elements=limit, masks=self._masks)

    def _leave(self, run: SessionId, pairing: _Pairing) -> None:
        with self._changed:
            pairing.left = True
            self._running.pop(run, None)
            self._past.add(run.session)
            self._changed.notify_all()


class DealerServicer(dealer_pb2_grpc.DealerServicer):
    """Serves both parties. One call of Deal is one party's side of one session."""

    def __init__(
        self,
        config: DealerConfig,
        handshake: Handshake,
        dealt: Callable[[str, int], object] = lambda *_: None,
    ) -> None:
        """Make the servicer. `handshake` receives the parties' differences from this dealer.
        `dealt` is told the kind and the bytes of each correction.
        """
        self._handshake = handshake
        self._dealt = dealt
        self.sessions = Sessions(config.limits, pairing_s=config.timeouts.pairing_s)

    def Hello(self, request: pb.DealerTerms, context: grpc.ServicerContext) -> pb.DealerTerms:
        """Exchange versions with a party."""
        mine, theirs = versions.Versions(), from_wire(request)
        found = Heard(theirs.release, versions.differences(mine, theirs))
        self._handshake.hear(caller(context).role.label, found)
        return to_wire(mine)

    def Deal(
        self, request_iterator: Iterator[pb.DealRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.DealResponse]:
        """Send corrections as they are requested; the stream's flow control bounds memory."""
        party = 0 if caller(context).role is Role.PARTY0 else 1
        run, seeds = _opening(next(request_iterator, pb.DealRequest()))
        tuples = 0
        with (
            traces.span("dealer session", root=False, party=party),
            self.sessions.joined(run, party, seeds, context) as dealer,
        ):
            for request in request_iterator:
                tuples += len(request.tuples.tuples)
                yield from _together(self._parts(dealer, party, request.tuples.tuples))
        log.info("session with party %d: dealt %d tuples", party, tuples)

    def _parts(
        self, dealer: Dealer, party: int, requests: Iterable[pb.TupleRequest]
    ) -> Iterator[_Part]:
        for request in requests:
            kind = tuple_codec.from_wire(request)
            words = dealer.correct(party, request.counter, kind)
            pieces = list(cut(words.numpy().data))
            self._dealt(request.WhichOneof("tuple") or "", words.nbytes)
            for number, piece in enumerate(pieces, start=1):
                yield request.counter, piece, number == len(pieces)


def _together(parts: Iterable[_Part]) -> Iterator[pb.DealResponse]:
    """Fill messages with small parts. A large one goes alone, so no message exceeds its limit."""
    message, size = pb.DealResponse(), 0
    for counter, words, last in parts:
        if message.parts and size + len(words) > _SHARED_BYTES:
            yield message
            message, size = pb.DealResponse(), 0
        message.parts.add(counter=counter, words=words, last=last)
        size += len(words)
    if message.parts:
        yield message


def _opening(request: pb.DealRequest) -> tuple[SessionId, _Seeds]:
    if request.WhichOneof("part") != "open":
        raise ShareError("deal: the first message must open a session")
    opening = request.open
    if len(opening.session) != _SESSION_BYTES or len(opening.seed) != SEED_BYTES:
        raise ShareError("deal: a session has 16 bytes and a seed 32")
    if len(opening.weight_seed) not in (0, SEED_BYTES):
        raise ShareError("deal: a weight seed has 32 bytes")
    seeds = _Seeds(opening.seed, opening.weight_seed or None)
    return SessionId(opening.session), seeds


def serve_dealer(config: DealerConfig) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError or CertificateError if it cannot start."""
    torch.set_num_threads(1)
    require_role(config.tls, Role.DEALER)
    metrics = Metrics("dealer", config)
    server, port = build_server(
        config.listen,
        tls=config.tls,
        access=ACCESS,
        rules=config.caller_rules,
        ended=metrics.call_ended,
    )
    compiler.prepare()
    handshake = Handshake()
    own_metrics = DealerMetrics(metrics)
    servicer = DealerServicer(config, handshake, own_metrics.dealt)
    own_metrics.watch(servicer.sessions.running)
    dealer_pb2_grpc.add_DealerServicer_to_server(servicer, server)
    statuses = add_health(server)
    add_about(server)
    add_reflection(server, [DEALER_SERVICE])
    certificates = watch_certificates(config.tls)
    causes = [
        Cause("terms", handshake.fault),
        Cause("certificate", certificates.fault, blocks=False),
    ]
    readiness = Readiness("dealer", DEALER_SERVICE, causes, statuses)
    handshake.watch(readiness.look)
    metrics.read_readiness(readiness)
    # The process as a whole serves. Otherwise a party would think that it is about to end.
    statuses.set_serving([""], True)
    with metrics.served():
        server.start()
        log.info("dealer: listening on port %d", port)
        readiness.start()
        run_until_told(server, statuses)
    readiness.stop()
