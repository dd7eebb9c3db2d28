"""Getting ready for queries to come: rehearsals and bundles, at both parties alike.

A rehearsal is a run on zeros whose answer nobody gets. It opens the masked weights of a snapshot,
once, and shows which tuples a run of its kind takes; bundles are then drawn from that plan.
"""

from functools import partial

import torch

from parties.worker.cancellation import Cancellation
from parties.worker.computation import Computation
from parties.worker.preprocessing.pool import Pool, Prepared
from parties.worker.scheduler import Scheduler
from parties.worker.sessions import Sessions
from parties.worker.task import Kind, Task
from privedge.errors import LimitExceeded, NotReady
from privedge.mpc.bundles import Bundle, size_of
from privedge.mpc.dealing import SessionId, Tuples, new_seed
from privedge.rpc.deadline import Deadline

_REHEARSAL_S = 600.0
# A bundle waits at the dealer while queries run, so it may take long.
_BUNDLE_S = 3600.0


class Preparer:
    """What one worker does for its half.

    A rehearsal needs the turn (scheduler.py), a bundle does not.
    """

    def __init__(
        self, sessions: Sessions, computation: Computation, pool: Pool, turns: Scheduler
    ) -> None:
        self._sessions = sessions
        self._computation = computation
        self._pool = pool
        self._turns = turns

    def rehearse(self, session: bytes, task: Task, orders: Cancellation) -> None:
        """Run `task` on zeros, in step with the other party; given up with the orders, since the
        other party has then left, and queries wait for this turn. Raises what a run raises.
        """
        zeros = torch.zeros(task.shape, dtype=torch.int64)
        deadline = Deadline.after(_REHEARSAL_S)
        abandon = Cancellation()
        with orders.during(abandon.now):
            self._computation.run(SessionId(session), task, zeros, deadline, abandon)

    def pairing(self, kind: Kind) -> bytes | None:
        """Under which masked weights bundles of that kind can be drawn; None before a rehearsal."""
        masked = self._sessions.masked(kind.snapshot_id)
        return masked.pairing if masked and self._sessions.plan(kind) else None

    def fits(self, kind: Kind) -> bool:
        """Whether the pool has room for one more."""
        plan = self._sessions.plan(kind)
        return plan is not None and self._pool.has_room(size_of(plan))

    def draw(self, name: bytes, kind: Kind, pairing: bytes, orders: Cancellation) -> Prepared:
        """This party's half of a bundle, as far as it goes without a query.

        Given up with the orders.

        Raises NotReady before a rehearsal, LimitExceeded if it does not fit, and what the dealer
        refuses.
        """
        plan, masked = self._sessions.plan(kind), self._sessions.masked(kind.snapshot_id)
        if plan is None or masked is None or masked.pairing != pairing:
            raise NotReady("nothing is known yet about runs of this kind")
        if not self.fits(kind):
            raise LimitExceeded("the pool has no room for another bundle; see [pool] memory_mib")
        run, seed = SessionId(name), new_seed()
        link = self._sessions.dealer_stream(run, seed, masked.seed, Deadline.after(_BUNDLE_S))
        try:
            with orders.during(link.abandon):
                tuples = Tuples(self._sessions.index, run, seed, link, plan)
                pause = partial(self._turns.wait_idle, orders.given_up)
                bundle = Bundle.drawn(tuples, plan, masked.opened, pause)
                link.finish()
        finally:
            link.abandon()
        return Prepared(name, pairing, bundle, size_of(plan), link.bytes_received)
