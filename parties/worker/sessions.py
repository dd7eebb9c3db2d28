"""How a run begins: meet the other party's worker, agree on what is computed and on what is spent.

    1. party 0 takes a bundle out of its pool, if there is one for this kind of run
    2. both greet: same protocol, session and agreement, or nothing is opened
    3. same masked weights at both? Then E is at hand; else both draw new weight seeds
    4. same bundle at both? Then the run spends it; else the dealer serves the run
    5. after a run that went well, both remember E and the plan of its tuples

docs/protocol.md#sessions and #pool say why. Only a run that went well leaves anything, so both
workers remember the same; if one forgets, the next greeting shows it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from parties.bounded_dict import BoundedDict
from parties.worker.agreement import disagreement
from parties.worker.cancellation import Cancellation
from parties.worker.dealer_stream import DealerStream
from parties.worker.meeting import Acceptor, Dialer, PeerStream, hello
from parties.worker.preprocessing.pool import Pool, Prepared
from parties.worker.task import Kind, Task
from parties.worker.weights import LARGE_BYTES
from privedge.errors import ManifestMismatch, TranscriptMismatch
from privedge.mpc.bundles import Supply
from privedge.mpc.dealing import SessionId, Tuples, new_seed
from privedge.mpc.fixed_product import MaskedWeights
from privedge.mpc.session import Session
from privedge.mpc.tuples import TupleKind
from privedge.rpc.channel import wait_connected
from privedge.rpc.deadline import Deadline
from privedge.wire import mpc_pb2 as pb
from privedge.wire.dealer_pb2_grpc import DealerStub

_REMEMBERED_PLANS = 64

# A run's kind, and whether the weights were masked before: the first run draws more.
_PlanKey = tuple[Kind, bool]


@dataclass(frozen=True)
class Opened:
    """A run that both workers have begun. Its randomness is `prepared`, or comes over `link`.

    Exactly one of the two is not None.
    """

    session: Session
    masked: MaskedWeights
    prepared: Prepared | None
    link: DealerStream | None

    @property
    def bytes_from_dealer(self) -> int:
        """How many bytes of corrections this run spent."""
        if self.prepared is not None:
            return self.prepared.bytes_from_dealer
        return self.link.bytes_received if self.link is not None else 0


@dataclass(frozen=True)
class _Terms:
    """What the greeting settled: the masked weights to use, and what the run spends.

    `same`: both workers hold these masked weights already, so that nothing of them is opened again.
    """

    masked: MaskedWeights
    same: bool
    prepared: Prepared | None


class Sessions:
    """One worker's runs, one at a time. Other threads may call `masked` and `plan` meanwhile."""

    def __init__(
        self,
        index: int,
        dealer: grpc.Channel,
        peer: Dialer | Acceptor,
        pool: Pool,
        *,
        keep: int,
    ) -> None:
        """`peer`: how party 1's worker is dialled at party 0, the lobby at party 1. Masked weights
        are kept for `keep` snapshots.
        """
        self.index = index
        self._dealer = dealer
        self._peer = peer
        self._pool = pool
        self._lock = threading.Lock()
        self._masked: BoundedDict[str, MaskedWeights] = BoundedDict(keep)
        self._plans: BoundedDict[_PlanKey, list[TupleKind]] = BoundedDict(_REMEMBERED_PLANS)

    def masked(self, snapshot_id: str) -> MaskedWeights | None:
        """A snapshot's masked weights, once a run on them went well; else None."""
        with self._lock:
            return self._masked.get(snapshot_id)

    def plan(self, kind: Kind) -> list[TupleKind] | None:
        """The tuples that a run of that kind draws once the weights are masked; None if no such run
        went well yet.
        """
        return self._plan((kind, True))

    @contextmanager
    def open(
        self, run: SessionId, task: Task, deadline: Deadline, abandon: Cancellation
    ) -> Iterator[Opened]:
        """Begin `run`. All streams end with the block, or at once if the run is abandoned.

        Raises ManifestMismatch that names what the other worker is about to do otherwise,
        Unreachable, OutOfTime.
        """
        offered = None
        try:
            # 1. Taken is spent: from here on no other run can have this bundle, whatever happens.
            offered = self._offered(task)
            # 2. to 4. Nothing masked has left this process yet.
            peer, terms = self._meet(run, task, offered, deadline, abandon)
            # Weights that are masked afresh need E once more, as large as the weights themselves.
            if not terms.same:
                self._make_room()
            # The first run on new masks also draws what depends on the weights alone: it has a plan
            # of its own.
            plan = (task.kind, terms.same)
            opened = self._supplied(run, terms, peer, plan, deadline)
            if opened.link is not None:
                abandon.also(opened.link.abandon)
            try:
                yield opened
            except TranscriptMismatch:
                # The other side finds the same; it must not be cut off before it has read why.
                peer.finish()
                raise
            # 5. The run went well: the transcripts were compared up to the last tuple. A party that
            #    fails after this has other masked weights, or none, in its next greeting.
            if opened.link is not None:
                opened.link.finish()
            self._remember(plan, opened)
            self._settle(task.snapshot.id, terms)
            abandon.not_needed()
            peer.release()
        finally:
            abandon.now()
            if offered is not None:
                self._pool.spent(offered.name)

    def dealer_stream(
        self, run: SessionId, seed: bytes, weight_seed: bytes, deadline: Deadline
    ) -> DealerStream:
        """This party's side of a session with the dealer, which alone gets these two seeds.

        Raises Unreachable.
        """
        wait_connected(self._dealer, "the dealer")
        stub = DealerStub(self._dealer)
        return DealerStream(stub, run, seed, deadline, weight_seed=weight_seed)

    # --- Parts ------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Drop what is kept of large snapshots: two of them may not fit in memory."""
        with self._lock:
            for snapshot_id, masked in list(self._masked.items()):
                if masked.size > LARGE_BYTES:
                    del self._masked[snapshot_id]

    def _offered(self, task: Task) -> Prepared | None:
        """Party 0 chooses the bundle; party 1 returns None. It has left the pool, even if party 1
        then has no half of it. Without masked weights no bundle can fit.
        """
        if self.index == 0 and self.masked(task.snapshot.id) is not None:
            return self._pool.take(task.kind)
        return None

    def _meet(
        self,
        run: SessionId,
        task: Task,
        prepared: Prepared | None,
        deadline: Deadline,
        abandon: Cancellation,
    ) -> tuple[PeerStream, _Terms]:
        """Party 0 proposes masked weights and a bundle; party 1 repeats what it has too.

        Ids only: neither seeds nor anything masked are in a greeting.
        """
        held = self.masked(task.snapshot.id)
        mine = hello(run, task.agreement())
        mine.masked_weights = held.pairing if held else b""
        if isinstance(self._peer, Dialer):
            mine.bundle = prepared.name if prepared else b""
            peer, theirs = self._peer.greet(mine, abandon.also)
        else:
            abandon.also(self._peer.look_again)
            peer = self._peer.take(run, deadline, abandon.given_up)
            abandon.also(peer.cut_off)
            theirs = peer.hear()
            # Party 1 spends the half that belongs to party 0's, and no other.
            prepared = self._pool.take_named(task.kind, theirs.bundle)
            mine.bundle = prepared.name if prepared else b""
            peer.say(mine)
        _require_agreement(peer, task, mine, theirs)
        return peer, _terms(held, prepared, mine, theirs)

    def _supplied(
        self, run: SessionId, terms: _Terms, peer: PeerStream, plan: _PlanKey, deadline: Deadline
    ) -> Opened:
        """Where the run's randomness comes from: the bundle, or a session with the dealer."""
        # A bundle has no session with the dealer any more. Its name is the session of the run's
        # transcript, so two halves of different bundles differ with the first exchange.
        if terms.prepared is not None:
            supply: Supply = terms.prepared.bundle
            return Opened(Session(self.index, peer, supply), terms.masked, terms.prepared, None)
        # A fresh seed for every session: no mask of this run can have been used before.
        seed = new_seed()
        link = self.dealer_stream(run, seed, terms.masked.seed, deadline)
        supply = Tuples(self.index, run, seed, link, self._plan(plan))
        return Opened(Session(self.index, peer, supply), terms.masked, None, link)

    def _plan(self, key: _PlanKey) -> list[TupleKind] | None:
        with self._lock:
            return self._plans.get(key)

    def _remember(self, key: _PlanKey, opened: Opened) -> None:
        """Keep which tuples the run drew. They depend on public shapes only, so those of the next
        run of this kind can be dealt ahead.
        """
        with self._lock:
            self._plans[key] = opened.session.tuples.used

    def _settle(self, snapshot_id: str, terms: _Terms) -> None:
        """Keep the masked weights that the run used."""
        if not terms.same:
            # What was prepared under the weights' masks before can never be used.
            self._pool.forget(lambda kind: kind.snapshot_id != snapshot_id)
        with self._lock:
            self._masked[snapshot_id] = terms.masked


def _terms(
    held: MaskedWeights | None,
    prepared: Prepared | None,
    mine: pb.SessionHello,
    theirs: pb.SessionHello,
) -> _Terms:
    """What both hold is used; anything else is begun afresh, or dealt while the run goes on."""
    # The id of a pair of weight seeds is the session in which both were drawn. If the other worker
    # names another one, or none, it has lost its seed or drawn a new one. To use the old E would
    # give wrong products, and to open E again under the old A would tell how W has changed.
    if held is None or theirs.masked_weights != held.pairing:
        return _Terms(MaskedWeights.fresh(mine.session), same=False, prepared=None)
    # A bundle holds U = E * B + C, so it fits its own E only.
    if prepared and (theirs.bundle != prepared.name or prepared.pairing != held.pairing):
        prepared = None
    return _Terms(held, same=True, prepared=prepared)


def _require_agreement(
    peer: PeerStream, task: Task, mine: pb.SessionHello, theirs: pb.SessionHello
) -> None:
    """Raises ManifestMismatch, before anything is opened, that names what the two workers would do
    differently.
    """
    facts = [(h.protocol, h.session, h.agreement) for h in (mine, theirs)]
    if facts[0] == facts[1]:
        return
    differing = _differing(peer, task, mine, theirs)
    # The other side finds the same: hanging up now would cut it off before it has read why.
    peer.finish()
    raise ManifestMismatch(f"the parties disagree on: {differing}")


def _differing(peer: PeerStream, task: Task, mine: pb.SessionHello, theirs: pb.SessionHello) -> str:
    if mine.protocol != theirs.protocol:
        return f"protocol ({mine.protocol} here, {theirs.protocol} there)"
    if mine.session != theirs.session:
        return "session"
    facts = task.facts()
    return disagreement(facts, peer.explain(facts)) or "something the other worker did not name"
