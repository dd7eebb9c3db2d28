"""Rehearsals and bundles, which both workers make in the same way. Sees masks of later queries.

1.  rehearsal   a run on zeros whose answer nobody gets. It opens the masked weights of a
                snapshot, once, and shows which tuples a run of its kind uses: the plan
2.  bundles     all tuples of such runs, a bundle for each, drawn in one session with the dealer:
                a lot, some of which the audit opens before the others are used (mpc/audit.py);
                or made by the two parties (making.py)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from parties.mpc.audit import Lot, Steps, Wrong, audited, opened_of
from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId, Tuples, new_seed
from parties.mpc.fixed_product import MaskedWeights
from parties.worker.cancellation import Cancellation
from parties.worker.computation import Computation
from parties.worker.preprocessing.making import TwoPartyMaker
from parties.worker.preprocessing.orders import bundle_names
from parties.worker.preprocessing.pool import Pool, Prepared
from parties.worker.scheduler import Scheduler
from parties.worker.sessions import Plan, Sessions
from parties.worker.task import Kind, Task
from privedge.errors import LimitExceeded, NotReady
from privedge.rpc.deadline import Deadline

_REHEARSAL_S = 600.0
# The drawing of a bundle pauses while queries run, so it may take long.
_BUNDLE_S = 3600.0


@dataclass(frozen=True)
class Drawn:
    """Bundles of one session, for which masked weights they are, how many bytes each needs, and how
    many of corrections came for all of them.

    lot: what the dealer dealt, for an audit; None if the two parties made the bundles.
    """

    session: bytes
    pairing: bytes
    bundles: Sequence[Bundle]
    size: int
    received: int
    lot: Lot | None = None

    def audited(self, opened: int, pause: Callable[[], None]) -> Steps[list[Bundle] | Wrong]:
        """The steps of an audit that opens so many. Raises NotReady if there is nothing to open."""
        if self.lot is None:
            raise NotReady("bundles that no dealer dealt cannot be audited")
        return audited(self.lot, opened, pause)

    def kept(self, bundles: Sequence[Bundle]) -> list[Prepared]:
        """These bundles of the lot, under the names that both parties give them in this order."""
        names = bundle_names(self.session, len(bundles))
        for name, bundle in zip(names, bundles, strict=True):
            bundle.run = SessionId(name)
        # What was opened is part of the price of what is kept.
        each = self.received // len(bundles)
        return [
            Prepared(name, self.pairing, bundle, self.size, each)
            for name, bundle in zip(names, bundles, strict=True)
        ]


class Preparer:
    """One worker's side. A rehearsal needs the scheduler's turn, a bundle does not."""

    def __init__(
        self,
        sessions: Sessions,
        computation: Computation,
        pool: Pool,
        scheduler: Scheduler,
        maker: TwoPartyMaker | None = None,
    ) -> None:
        """`maker`: makes bundles where there is no dealer."""
        self._maker = maker
        self._sessions = sessions
        self._computation = computation
        self._pool = pool
        self._scheduler = scheduler
        self.trust = sessions.trust

    def rehearse(
        self, session: bytes, task: Task, orders: Cancellation, turn: Cancellation
    ) -> None:
        """Run `task` on zeros, in step with the other worker. Raises what a run raises.

        It ends early with `orders`, because the other worker has then left, and with `turn`: a
        query has waited for it long enough.
        """
        deadline = Deadline.after(_REHEARSAL_S)
        with orders.during(turn.cancel):
            self._computation.run(SessionId(session), task, None, deadline, turn)

    def pairing(self, kind: Kind) -> bytes | None:
        """The name of the masked weights that bundles of that kind are made for; None before a
        rehearsal.
        """
        masked = self._sessions.masked(kind.snapshot_id)
        return masked.pairing if masked and self._sessions.plan(kind) else None

    def room(self, kind: Kind, wanted: int, opened: float = 0.0) -> int:
        """For how many more bundles of that kind the pool has room, at most `wanted`. If that is
        more than one, also for those that are opened beside them until then.
        """
        plan = self._sessions.plan(kind)
        fits = self._pool.room(plan.size) if plan is not None else 0
        kept = min(wanted, fits)
        while kept > 1 and kept + opened_of(kept, opened) > fits:
            kept -= 1
        return kept

    def draw(
        self, session: bytes, count: int, kind: Kind, pairing: bytes, orders: Cancellation
    ) -> "Drawn":
        """Draw this party's shares of `count` bundles in this session with the dealer, or make them
        with the other party in a session with it, and compute with them as far as no input is
        needed.

        It ends early with `orders`. Raises NotReady before a rehearsal, LimitExceeded if they do
        not fit, and what the dealer or the other party refuses.
        """
        # 1. The plan and the masked weights must be those that party 0 ordered the bundles for.
        plan, masked = self._sessions.plan(kind), self._sessions.masked(kind.snapshot_id)
        if plan is None or masked is None or masked.pairing != pairing:
            raise NotReady("nothing is known yet about runs of this kind")
        if not self.room(kind, 1):
            raise LimitExceeded("the pool has no room for another bundle; see [pool] memory_mib")
        # 2. Pause whenever there is a query.
        pause = partial(self._scheduler.wait_idle, orders.cancelled)
        if self._maker is None:
            return self._dealt(SessionId(session), count, plan, masked, pause, orders)
        names = [SessionId(name) for name in bundle_names(session, count)]
        made = self._maker.make(SessionId(session), names, plan, pairing, pause, orders)
        return Drawn(session, pairing, made.bundles, plan.size, made.received)

    def _dealt(
        self,
        run: SessionId,
        count: int,
        plan: Plan,
        masked: MaskedWeights,
        pause: Callable[[], None],
        orders: Cancellation,
    ) -> "Drawn":
        # A session with the dealer that no query has, with a fresh seed: no mask is used twice.
        seed = new_seed()
        link = self._sessions.dealer_stream(run, seed, masked.seed, Deadline.after(_BUNDLE_S))
        try:
            with orders.during(link.abandon):
                # Ask for all tuples of all plans at once. Each tuple has a number of its own in the
                # session, and so masks of its own.
                tuples = Tuples(self._sessions.index, run, seed, link, plan.kinds * count)
                bundles = [
                    Bundle.drawn(tuples, plan.kinds, masked.opened, pause) for _ in range(count)
                ]
                link.finish()
        finally:
            link.abandon()
        lot = Lot(self._sessions.index, run, seed, plan.kinds, bundles, masked, count)
        received = link.bytes_received
        return Drawn(run.session, masked.pairing, bundles, plan.size, received, lot)
