"""Rehearsals and bundles, which both workers make in the same way. Sees masks of later queries.

1.  rehearsal   a run on zeros whose answer nobody gets. It opens the masked weights of a
                snapshot, once, and shows which tuples a run of its kind uses: the plan
2.  bundles     all tuples of such runs, a bundle for each, drawn in one session with the dealer
"""

from collections.abc import Sequence
from functools import partial

from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId, Tuples, new_seed
from parties.worker.cancellation import Cancellation
from parties.worker.computation import Computation
from parties.worker.preprocessing.pool import Pool, Prepared
from parties.worker.scheduler import Scheduler
from parties.worker.sessions import Sessions
from parties.worker.task import Kind, Task
from privedge.errors import LimitExceeded, NotReady
from privedge.rpc.deadline import Deadline

_REHEARSAL_S = 600.0
# The drawing of a bundle pauses while queries run, so it may take long.
_BUNDLE_S = 3600.0


class Preparer:
    """One worker's side. A rehearsal needs the scheduler's turn, a bundle does not."""

    def __init__(
        self, sessions: Sessions, computation: Computation, pool: Pool, scheduler: Scheduler
    ) -> None:
        self._sessions = sessions
        self._computation = computation
        self._pool = pool
        self._scheduler = scheduler

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

    def room(self, kind: Kind, wanted: int) -> int:
        """For how many more bundles of that kind the pool has room, at most `wanted`."""
        plan = self._sessions.plan(kind)
        return min(wanted, self._pool.room(plan.size)) if plan is not None else 0

    def draw(
        self, names: Sequence[bytes], kind: Kind, pairing: bytes, orders: Cancellation
    ) -> list[Prepared]:
        """Draw this party's shares of bundles with these names, the first of which names the
        session with the dealer, and compute with them as far as no input is needed.

        It ends early with `orders`. Raises NotReady before a rehearsal, LimitExceeded if they do
        not fit, and what the dealer refuses.
        """
        # 1. The plan and the masked weights must be those that party 0 ordered the bundles for.
        plan, masked = self._sessions.plan(kind), self._sessions.masked(kind.snapshot_id)
        if plan is None or masked is None or masked.pairing != pairing:
            raise NotReady("nothing is known yet about runs of this kind")
        if self.room(kind, len(names)) < len(names):
            raise LimitExceeded("the pool has no room for another bundle; see [pool] memory_mib")
        # 2. A session with the dealer that no query has, with a fresh seed: no mask is used twice.
        run, seed = SessionId(names[0]), new_seed()
        link = self._sessions.dealer_stream(run, seed, masked.seed, Deadline.after(_BUNDLE_S))
        try:
            with orders.during(link.abandon):
                # 3. Ask for all tuples of all plans at once, and pause whenever there is a query.
                #    Each tuple has a number of its own in the session, and so masks of its own.
                tuples = Tuples(self._sessions.index, run, seed, link, plan.kinds * len(names))
                pause = partial(self._scheduler.wait_idle, orders.cancelled)
                bundles = [
                    Bundle.drawn(tuples, plan.kinds, masked.opened, pause, SessionId(name))
                    for name in names
                ]
                link.finish()
        finally:
            link.abandon()
        received = link.bytes_received // len(names)
        return [
            Prepared(name, pairing, bundle, plan.size, received)
            for name, bundle in zip(names, bundles, strict=True)
        ]
