"""How a run begins and ends: the steps around the computation. Sees seeds of masks, and no shares.

    1.  meet       both workers open the session and greet each other (meeting.py); party 0 takes a
                   bundle out of its pool for it, if there is one for this kind of run
    2.  agree      same protocol, session and agreement at both, or neither computes; both nonces
                   make the key under which results are released (mpc/release.py)
    3.  weights    same masked weights at both, and E is at hand; else both draw new weight seeds
    4.  supply     same bundle at both, and the run uses it; else the dealer serves the run
    5.  compute    the caller's block
    6.  remember   E and the plan of the tuples used, for the runs to come

docs/protocol.md#sessions and #pool say why. Only a run that went well leaves anything, so both
workers remember the same; if one forgets, the next greeting shows it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import grpc

from parties.bounded_dict import BoundedDict
from parties.dealer_trust import DealerTrust
from parties.mpc.bundles import Supply, size_of
from parties.mpc.dealing import SessionId, Tuples, new_seed
from parties.mpc.fixed_product import FixedProduct, MaskedWeights
from parties.mpc.release import ReleaseKey
from parties.mpc.session import Session
from parties.mpc.tuples import TupleKind
from parties.mpc.twoparty.learned import KeptWeights, Models, missing_memory, name_of
from parties.mpc.twoparty.live import Live
from parties.mpc.twoparty.maker import TwoParty
from parties.worker.agreement import disagreement
from parties.worker.cancellation import Cancellation
from parties.worker.dealer_stream import DealerLine, DealerStream
from parties.worker.live_times import LiveTimes
from parties.worker.meeting import Agreement, Meeting, Met, PeerStream
from parties.worker.preprocessing.pool import BundleChoice, Pool, Prepared
from parties.worker.task import Kind, Task
from parties.worker.weights import LARGE_BYTES
from privedge.errors import Busy, ManifestMismatch, NotReady, TranscriptMismatch
from privedge.rpc.deadline import Deadline

_REMEMBERED_PLANS = 64

# A run's kind, and whether its weights were masked before: the first run uses more tuples.
_PlanKey = tuple[Kind, bool]


@dataclass(frozen=True)
class Plan:
    """The tuples that runs of one kind use, how many bytes a bundle of them needs, and the names of
    the models whose weights are in them.
    """

    kinds: list[TupleKind]
    size: int
    models: Models = ()


@dataclass(frozen=True)
class Opened:
    """A run that both workers have begun. Its tuples are `prepared`, or come over `link`.

    Where the two parties make them during the run, both are None, and `live` is what does.
    """

    session: Session
    masked: MaskedWeights
    prepared: Prepared | None
    link: DealerStream | None
    models: Models
    live: Live | None = None
    received_before: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def bytes_from_dealer(self) -> int:
        """How many bytes of corrections this run used; without a dealer, how many came from the
        other party for its tuples.
        """
        if self.prepared is not None:
            return self.prepared.bytes_from_dealer
        if self.live is not None:
            return self.live.pairing.bytes_received - self.received_before
        return self.link.bytes_received if self.link is not None else 0


@dataclass(frozen=True)
class _Terms:
    """What both greetings settled: the masked weights to use, and the bundle, if it fits.

    `same`: both workers hold these masked weights already, so nothing of them is opened again.
    `key`: for what the run releases.
    """

    key: ReleaseKey
    masked: MaskedWeights
    same: bool
    prepared: Prepared | None


class Sessions:
    """One worker's runs, one at a time. Other threads may call `masked` and `plan` meanwhile."""

    def __init__(
        self,
        index: int,
        source: grpc.Channel | KeptWeights,
        meeting: Meeting,
        pool: Pool,
        *,
        keep: int,
        trust: DealerTrust,
    ) -> None:
        """Keep the masked weights of `keep` snapshots. `source`: the dealer's channel, or what the
        two parties learn of weights, where they make the tuples themselves. `trust`: whether the
        dealer is refused.
        """
        self.trust = trust
        self.index = index
        self._learned = KeptWeights(0)
        self._dealer: DealerLine | None = None
        if isinstance(source, KeptWeights):
            self._learned = source
        else:
            self._dealer = DealerLine(source)
        # What the last run left of a pairing of the two parties; None while a run has it.
        self._pairing: TwoParty | None = None
        self._live_times: LiveTimes[_PlanKey] = LiveTimes(_REMEMBERED_PLANS)
        self._meeting = meeting
        self._pool = pool
        self._lock = threading.Lock()
        self._masked: BoundedDict[str, MaskedWeights] = BoundedDict(keep)
        self._plans: BoundedDict[_PlanKey, Plan] = BoundedDict(_REMEMBERED_PLANS)

    def masked(self, snapshot_id: str) -> MaskedWeights | None:
        """A snapshot's masked weights, once a run on them went well; else None."""
        with self._lock:
            return self._masked.get(snapshot_id)

    def plan(self, kind: Kind) -> Plan | None:
        """The tuples that a run of that kind uses once its weights are masked; None if no such run
        went well yet.
        """
        return self._plan((kind, True))

    @contextmanager
    def open(
        self, run: SessionId, task: Task, deadline: Deadline, cancellation: Cancellation
    ) -> Iterator[Opened]:
        """Begin `run`. All streams end with the block, or at once if the run is cancelled.

        Raises ManifestMismatch, which names what the other worker is about to do otherwise;
        Unreachable; DeadlineExceeded; WrongRandomness while the dealer is refused; Busy if there is
        no bundle and no time for the two parties to make one.
        """
        self.trust.check()
        held = self.masked(task.snapshot.id)
        choice = BundleChoice(self._pool, task.kind, usable=held is not None)
        try:
            # 1. Meet. Nothing masked leaves this process before step 5.
            agreement = Agreement(task.agreement(), held.pairing if held else b"", choice)
            met = self._meeting.open(run, agreement, deadline, cancellation)
            # 2. Agree.
            _require_agreement(met, task)
            # 3. Settle on masked weights. Weights that are masked afresh need E once more, as large
            #    as the weights themselves, so large old ones go first.
            terms = _terms(self._release_key(met), held, choice.taken, met)
            if task.check is None and not terms.same:
                self._make_room()
            # 4. Settle on the supply of tuples. The first run on new masks also draws what depends
            #    on the weights alone, so it has a plan of its own.
            plan = (task.kind, terms.same)
            opened = self._supplied(run, terms, met.stream, plan, task.snapshot.names, deadline)
            if opened.link is not None:
                cancellation.add(opened.link.abandon)
            # A new model is checked once, so nothing makes way for it.
            keep = task.check is None
            # 5. Compute.
            with self._computing(opened, met.stream, keep=keep):
                yield opened
            self._finished(opened, plan, keep=keep)
            # 6. Remember: the transcripts were compared up to the last tuple. A party that fails
            #    after this has other masked weights, or none, in its next greeting.
            if keep:
                self._remember(plan, opened, terms)
            cancellation.disarm()
            met.stream.release()
        finally:
            cancellation.cancel()
            choice.release()

    @contextmanager
    def both_end(self, run: SessionId) -> Iterator[None]:
        """Whatever ends this worker's half of `run` inside the block ends the other's at once."""
        try:
            yield
        except BaseException:
            self._meeting.give_up(run)
            raise

    def dealer_stream(
        self, run: SessionId, seed: bytes, weight_seed: bytes, deadline: Deadline
    ) -> DealerStream:
        """This party's side of a session with the dealer, which alone gets these two seeds.

        Raises Unreachable.
        """
        if self._dealer is None:
            raise NotReady("no dealer: the two parties make their tuples themselves")
        return self._dealer.open(run, seed, deadline, weight_seed=weight_seed)

    # --- Parts ------------------------------------------------------------------------------------

    @contextmanager
    def _computing(self, opened: Opened, peer: PeerStream, *, keep: bool) -> Iterator[None]:
        try:
            yield
        except TranscriptMismatch:
            # The other worker finds the same. It must not be cut off before it has read why.
            peer.finish()
            raise
        finally:
            # Both agreed on each lot of weights when it was learned, whatever becomes of the run.
            if opened.live is not None and keep:
                self._learned.keep(opened.live.pairing.weights, opened.models)

    def _release_key(self, met: Met) -> ReleaseKey:
        """Of both nonces, party 0's first. Raises TranscriptMismatch if the other sent none."""
        mine, theirs = met.mine.release_nonce, met.theirs.release_nonce
        nonces = (mine, theirs) if self.index == 0 else (theirs, mine)
        return ReleaseKey(nonces, met.mine.session)

    def _make_room(self) -> None:
        """Drop what is kept of large snapshots: two of them may not fit in memory."""
        with self._lock:
            for snapshot_id, masked in list(self._masked.items()):
                if masked.size > LARGE_BYTES:
                    del self._masked[snapshot_id]

    def _supplied(
        self,
        run: SessionId,
        terms: _Terms,
        peer: PeerStream,
        plan: _PlanKey,
        models: Models,
        deadline: Deadline,
    ) -> Opened:
        """Where the run's tuples come from: the bundle, or a session with the dealer."""
        # A bundle's session with the dealer is over. Its name is the session of the run's
        # transcript, so shares of two different bundles differ with the first exchange.
        if terms.prepared is not None:
            supply: Supply = terms.prepared.bundle
            session = Session(self.index, peer, supply, terms.key)
            return Opened(session, terms.masked, terms.prepared, None, models)
        if self._dealer is None:
            return self._made_live(run, terms, peer, plan, models, deadline)
        # A fresh seed for every session: no mask of this run can have been used before.
        seed = new_seed()
        link = self.dealer_stream(run, seed, terms.masked.seed, deadline)
        known = self._plan(plan)
        supply = Tuples(self.index, run, seed, link, known.kinds if known else None)
        session = Session(self.index, peer, supply, terms.key)
        return Opened(session, terms.masked, None, link, models)

    def _made_live(
        self,
        run: SessionId,
        terms: _Terms,
        peer: PeerStream,
        plan: _PlanKey,
        models: Models,
        deadline: Deadline,
    ) -> Opened:
        """Tuples that both workers make during the run, by the pairing of the last run if both
        still have it. A run that fails leaves none: its state may differ at the other worker.

        Raises Busy if by the last run of this kind there is too little time.
        """
        takes_s = self._live_times.expected_s(plan, self._missing(plan, models))
        if takes_s > deadline.remaining():
            raise Busy(f"no randomness is prepared, and making it takes {takes_s:.0f} s", takes_s)
        before, self._pairing = self._pairing, None
        pairing = TwoParty.joined(self.index, peer, before, self._learned.weights())
        room = partial(self._learned.check_room, models, pairing.weights)
        live = Live(run, pairing, models, room)
        session = Session(self.index, peer, live, terms.key)
        return Opened(session, terms.masked, None, None, models, live, pairing.bytes_received)

    def _missing(self, key: _PlanKey, models: Models) -> int:
        """Bytes of weights of these models that a run with this plan would learn; 0 for a plan that
        is not known.
        """
        plan, weights = self._plan(key), self._learned.weights()
        products = [kind for kind in plan.kinds if isinstance(kind, FixedProduct)] if plan else []
        # A weight is learned once, also where several products are with it.
        each = {name_of(kind): missing_memory(weights, kind, models) for kind in products}
        return sum(each.values())

    def _finished(self, opened: Opened, plan: _PlanKey, *, keep: bool) -> None:
        """The run's transcripts were compared: what made its tuples may go on."""
        if opened.link is not None:
            opened.link.finish()
        if (live := opened.live) is not None:
            self._pairing = live.pairing
            if keep:
                self._live_times.note(
                    plan,
                    time.monotonic() - opened.began,
                    learning_s=live.learning_s,
                    learned=live.learned,
                )

    def _plan(self, key: _PlanKey) -> Plan | None:
        with self._lock:
            return self._plans.get(key)

    def _remember(self, plan: _PlanKey, opened: Opened, terms: _Terms) -> None:
        kind, _ = plan
        self._remember_plan(plan, opened)
        self._remember_masked(kind.snapshot_id, terms)

    def _remember_plan(self, key: _PlanKey, opened: Opened) -> None:
        """Keep which tuples the run used. They depend on public shapes only, so the dealer can work
        ahead in the next run of this kind.
        """
        used = opened.session.tuples.used
        with self._lock:
            known = self._plans.get(key)
            same = known is not None and known.kinds == used
            self._plans[key] = known if known and same else Plan(used, size_of(used), opened.models)

    def _remember_masked(self, snapshot_id: str, terms: _Terms) -> None:
        """Keep the masked weights that the run used."""
        if not terms.same:
            # Bundles made for the weights' masks before this run can never be used again.
            self._pool.forget(lambda kind: kind.snapshot_id != snapshot_id)
        with self._lock:
            self._masked[snapshot_id] = terms.masked


def _terms(
    key: ReleaseKey, held: MaskedWeights | None, prepared: Prepared | None, met: Met
) -> _Terms:
    """Use what both workers have. Otherwise mask the weights afresh, and let the dealer supply."""
    # The name of masked weights is the session in which both weight seeds were drawn. If the other
    # worker names others, or none, it has lost its seed or drawn a new one. To use the old E would
    # give wrong products, and to open E again under the old A would tell how W has changed.
    if held is None or met.theirs.masked_weights != held.pairing:
        return _Terms(key, MaskedWeights.fresh(met.mine.session), same=False, prepared=None)
    # A bundle holds U = E * B + C, so it fits its own E only.
    if prepared and (met.theirs.bundle != prepared.name or prepared.pairing != held.pairing):
        prepared = None
    return _Terms(key, held, same=True, prepared=prepared)


def _require_agreement(met: Met, task: Task) -> None:
    """Raises ManifestMismatch, before anything is opened, that names what the two workers would do
    differently.
    """
    facts = [(g.protocol, g.session, g.agreement) for g in (met.mine, met.theirs)]
    if facts[0] == facts[1]:
        return
    differing = _differing(met, task)
    # The other worker finds the same. Hanging up now would cut it off before it has read why.
    met.stream.finish()
    raise ManifestMismatch(f"the parties disagree on: {differing}")


def _differing(met: Met, task: Task) -> str:
    mine, theirs = met.mine, met.theirs
    if mine.protocol != theirs.protocol:
        return f"protocol ({mine.protocol} here, {theirs.protocol} there)"
    if mine.session != theirs.session:
        return "session"
    facts = task.facts()
    return (
        disagreement(facts, met.stream.explain(facts)) or "something the other worker did not name"
    )
