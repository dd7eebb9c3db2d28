"""Rehearsals and bundles, which both workers make in the same way. Sees masks of later queries.

1.  rehearsal   a run on zeros whose answer nobody gets. It opens the masked weights of a
                snapshot, once, and shows which tuples a run of its kind uses: the plan
2.  bundles     all tuples of such runs, a bundle for each, drawn in one session with the dealer:
                a lot, some of which the audit opens before the others are used (mpc/audit.py)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from parties.mpc.audit import Lot, opened_of
from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId, Tuples, new_seed
from parties.worker.cancellation import Cancellation
from parties.worker.computation import Computation
from parties.worker.preprocessing.orders import bundle_names
from parties.worker.preprocessing.pool import Pool, Prepared
from parties.worker.scheduler import Scheduler
from parties.worker.sessions import Sessions
from parties.worker.task import Kind, Task
from privedge.errors import LimitExceeded, NotReady
from privedge.rpc.deadline import Deadline

_REHEARSAL_S = 600.0
# The drawing of a bundle pauses while queries run, so it may take long.
_BUNDLE_S = 3600.0


@dataclass(frozen=True)
class Drawn:
    """A lot, how many bytes each bundle needs, and how many of corrections came for all of it."""

    lot: Lot
    size: int
    received: int

    def kept(self, bundles: Sequence[Bundle]) -> list[Prepared]:
        """These bundles of the lot, under the names that both parties give them in this order."""
        names = bundle_names(self.lot.run.session, len(bundles))
        for name, bundle in zip(names, bundles, strict=True):
            bundle.run = SessionId(name)
        # What was opened is part of the price of what is kept.
        each = self.received // len(bundles)
        pairing = self.lot.masked.pairing
        return [
            Prepared(name, pairing, bundle, self.size, each)
            for name, bundle in zip(names, bundles, strict=True)
        ]


class Preparer:
    """One worker's side. A rehearsal needs the scheduler's turn, a bundle does not."""

    def __init__(
        self, sessions: Sessions, computation: Computation, pool: Pool, scheduler: Scheduler
    ) -> None:
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
        """Draw this party's shares of `count` bundles in this session with the dealer, and compute
        with them as far as no input is needed.

        It ends early with `orders`. Raises NotReady before a rehearsal, LimitExceeded if they do
        not fit, and what the dealer refuses.
        """
        # 1. The plan and the masked weights must be those that party 0 ordered the bundles for.
        plan, masked = self._sessions.plan(kind), self._sessions.masked(kind.snapshot_id)
        if plan is None or masked is None or masked.pairing != pairing:
            raise NotReady("nothing is known yet about runs of this kind")
        if not self.room(kind, 1):
            raise LimitExceeded("the pool has no room for another bundle; see [pool] memory_mib")
        # 2. A session with the dealer that no query has, with a fresh seed: no mask is used twice.
        run, seed = SessionId(session), new_seed()
        link = self._sessions.dealer_stream(run, seed, masked.seed, Deadline.after(_BUNDLE_S))
        try:
            with orders.during(link.abandon):
                # 3. Ask for all tuples of all plans at once, and pause whenever there is a query.
                #    Each tuple has a number of its own in the session, and so masks of its own.
                tuples = Tuples(self._sessions.index, run, seed, link, plan.kinds * count)
                pause = partial(self._scheduler.wait_idle, orders.cancelled)
                bundles = [
                    Bundle.drawn(tuples, plan.kinds, masked.opened, pause) for _ in range(count)
                ]
                link.finish()
        finally:
            link.abandon()
        lot = Lot(self._sessions.index, run, seed, plan.kinds, bundles, masked, count)
        return Drawn(lot, plan.size, link.bytes_received)
