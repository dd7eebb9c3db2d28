"""Runs one query's computation: worker.proto's servicer. Sees one share of query and models.

The steps of a session, each bounded by the caller's deadline and given up when the caller leaves:

    1.  load the snapshot's shares
    2.  meet the other party's worker and agree on what is computed
    3.  meet the dealer
    4.  compute on CrypTen
    5.  compare transcripts; only then does the answer share leave
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import grpc
import torch

from parties.worker.dealer_stream import DealerStream
from parties.worker.peer_stream import Lobby, PeerStream, dial
from parties.worker.weights import Stacked, Weights
from privedge.errors import ShareError, TranscriptMismatch
from privedge.mpc.crypten_backend.engine import CryptenEngine
from privedge.mpc.dealing import SessionId, Tuples, new_seed
from privedge.mpc.fixed_product import MaskedWeights
from privedge.mpc.fused.engine import FusedEngine
from privedge.mpc.predict import Rule, predict
from privedge.mpc.session import Session
from privedge.mpc.tuples import TupleKind
from privedge.ran.spec import RanSpec
from privedge.rpc import codec
from privedge.rpc.channel import wait_connected
from privedge.rpc.chunks import cut
from privedge.rpc.deadline import Deadline
from privedge.sharing.cost import Cost
from privedge.wire import mpc_pb2_grpc, worker_pb2_grpc
from privedge.wire import party_pb2 as party
from privedge.wire import worker_pb2 as pb
from privedge.wire.dealer_pb2_grpc import DealerStub

_MAX_SECONDS = 3600.0
_REMEMBERED_PLANS = 16
# Agreement, and whether the weights were masked before.
_Plan = tuple[bytes, bool]
# As many snapshots as weights.py keeps.
_KEPT_WEIGHTS = 2


class Runner(worker_pb2_grpc.WorkerServicer):
    """One session at a time: CrypTen is one per process."""

    def __init__(
        self,
        index: int,
        dealer: grpc.Channel,
        peer: mpc_pb2_grpc.MpcStub | Lobby,
        engine: Literal["fused", "crypten"],
        rounding: Literal["one-unit", "exact"],
    ) -> None:
        """`peer`: the stub of party 1's worker at party 0, the lobby at party 1."""
        self._index = index
        self._engine = engine
        self._rounding = rounding
        self._masked: OrderedDict[str, MaskedWeights] = OrderedDict()
        self._dealer = dealer
        self._peer = peer
        self._weights = Weights(index)
        self._one_at_a_time = threading.Lock()
        self._plans: OrderedDict[_Plan, list[TupleKind]] = OrderedDict()

    def Run(
        self, request_iterator: Iterator[pb.RunRequest], context: grpc.ServicerContext
    ) -> Iterator[party.QueryResponse]:
        """Compute one answer share."""
        deadline = Deadline.of(context, at_most_s=_MAX_SECONDS)
        job = next(request_iterator, pb.RunRequest()).job
        share = _share(job, request_iterator)
        with self._one_at_a_time:
            started = time.perf_counter()
            spec = RanSpec.from_json(job.spec_json)
            weights = self._weights.load(job.snapshot_id, spec, job.models)
            loaded = time.perf_counter()
            with self._session(job, spec, deadline, context) as (session, link, masked):
                engine = self._new_engine(session, masked)
                answer = self._compute(engine, spec, weights, share, job)
                session.confirm()
            cost = Cost(
                rounds=session.rounds,
                bytes_to_peer=session.bytes_sent,
                bytes_from_dealer=link.bytes_received,
                phases=session.phases,
                load_s=loaded - started,
                online_s=time.perf_counter() - loaded,
            )
        header = party.AnswerHeader(shape=answer.shape, cost=codec.cost_to_wire(cost))
        yield party.QueryResponse(header=header)
        for piece in cut(answer.contiguous().numpy().data):
            yield party.QueryResponse(words=piece)

    @contextmanager
    def _session(
        self, job: pb.Job, spec: RanSpec, deadline: Deadline, context: grpc.ServicerContext
    ) -> Iterator[tuple[Session, DealerStream, MaskedWeights]]:
        """Steps 2 and 3. Both streams end with the block, or at once if the caller leaves."""
        run = SessionId(job.session, job.attempt)
        agreement = _agreement(job, spec, self._engine, self._rounding)
        abandon = _Abandon(context)
        try:
            peer = self._meet(run, deadline, abandon)
            held = self._masked.pop(job.snapshot_id, None)
            same = peer.agree(run, agreement, held.pairing if held else b"")
            masked = held if held and same else MaskedWeights.fresh(run.session)
            # The first run on masked weights draws more than later ones.
            plan = (agreement, masked is held)
            seed = new_seed()
            wait_connected(self._dealer, "the dealer")
            link = DealerStream(
                DealerStub(self._dealer), run, seed, deadline, weight_seed=masked.seed
            )
            abandon.also(link.abandon)
            tuples = Tuples(self._index, run, seed, link, self._plans.get(plan))
            try:
                yield Session(self._index, peer, tuples), link, masked
            except TranscriptMismatch:
                # The other side finds the same; it must not be cut off before it has read why.
                peer.finish()
                raise
            link.finish()
            peer.finish()
            self._remember(plan, tuples.used)
            self._keep(job.snapshot_id, masked)
            abandon.not_needed()
        finally:
            abandon.now()

    def _meet(self, run: SessionId, deadline: Deadline, abandon: "_Abandon") -> PeerStream:
        """Party 1 waits for party 0's worker to dial."""
        if isinstance(self._peer, Lobby):
            abandon.also(self._peer.look_again)
            stream, cancel = self._peer.take(run, deadline, abandon.given_up)
        else:
            stream, cancel = dial(self._peer, deadline)
        abandon.also(cancel)
        return stream

    def _new_engine(self, session: Session, masked: MaskedWeights) -> CryptenEngine:
        if self._engine == "fused":
            return FusedEngine(session, masked, exact=self._rounding == "exact")
        return CryptenEngine(session)

    @staticmethod
    def _compute(
        engine: CryptenEngine, spec: RanSpec, weights: Stacked, share: torch.Tensor, job: pb.Job
    ) -> torch.Tensor:
        """Step 4."""
        try:
            answer = predict(
                engine,
                spec,
                {name: engine.share(words) for name, words in weights.items()},
                engine.share(share),
                _rule(job),
            )
            words: torch.Tensor = answer.share
            return words
        finally:
            engine.close()

    def _keep(self, snapshot_id: str, masked: MaskedWeights) -> None:
        """For the next query. Only after a run that went well: both sides have the same then."""
        self._masked[snapshot_id] = masked
        while len(self._masked) > _KEPT_WEIGHTS:
            self._masked.popitem(last=False)

    def _remember(self, plan: _Plan, used: list[TupleKind]) -> None:
        """Next time the dealer can work ahead: the tuples depend on public shapes only."""
        self._plans[plan] = used
        while len(self._plans) > _REMEMBERED_PLANS:
            self._plans.popitem(last=False)


class _Abandon:
    """What to hang up when a run fails or its caller leaves, so that nobody waits in vain."""

    def __init__(self, context: grpc.ServicerContext) -> None:
        self.given_up = threading.Event()
        self._steps: list[Callable[[], object]] = []
        if not context.add_callback(self.now):
            self.now()

    def also(self, step: Callable[[], object]) -> None:
        """Add a step; it runs at once if it is too late already."""
        self._steps.append(step)
        if self.given_up.is_set():
            step()

    def not_needed(self) -> None:
        """The run ended well."""
        self._steps = []

    def now(self) -> None:
        """Hang up."""
        self.given_up.set()
        for step in self._steps:
            step()


def _rule(job: pb.Job) -> Rule:
    position = job.verify_position if job.HasField("verify_position") else None
    return Rule(margin=job.margin, one_subject=job.one_subject, verify_position=position)


def _share(job: pb.Job, requests: Iterator[pb.RunRequest]) -> torch.Tensor:
    received = bytearray()
    for request in requests:
        received += request.words
    shape = tuple(job.shape)
    if len(received) != 8 * torch.Size(shape).numel():
        raise ShareError(f"query share: {len(received)} bytes for shape {shape}")
    return torch.frombuffer(received, dtype=torch.int64).reshape(shape)


def _agreement(job: pb.Job, spec: RanSpec, engine: str, rounding: str) -> bytes:
    """What both workers must be about to compute: models, architecture, question, shape, how."""
    facts = (
        job.snapshot_id,
        spec.digest(),
        tuple(job.shape),
        _rule(job),
        engine,
        rounding,
    )
    return hashlib.sha256(repr(facts).encode()).digest()
