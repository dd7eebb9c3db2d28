"""Bundles that the two workers make together, without a dealer, while nobody asks. Sees masks of
later queries.

They meet in a session of its own, beside the sessions of queries. Its transfers are of a pairing of
its own too, so a query that makes its tuples itself need not wait for a bundle. What products need
of weights is learned by runs (sessions.py), and used here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256

from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId
from parties.mpc.session import PeerLink
from parties.mpc.twoparty.learned import KeptWeights
from parties.mpc.twoparty.maker import TwoParty
from parties.worker.cancellation import Cancellation
from parties.worker.meeting import Agreement, Meeting
from parties.worker.sessions import Plan
from privedge.errors import NotReady
from privedge.rpc.deadline import Deadline

# The making pauses while queries run, so it may take long.
_MAKING_S = 3600.0


@dataclass(frozen=True)
class Made:
    """Bundles, and how many bytes came from the other party for all of them."""

    bundles: Sequence[Bundle]
    received: int


class TwoPartyMaker:
    """One worker's side. It makes one lot at a time."""

    def __init__(self, index: int, meeting: Meeting, learned: KeptWeights) -> None:
        """`meeting`: not used by anybody else while a lot is made."""
        self._index = index
        self._meeting = meeting
        self._learned = learned
        # What the last lot left; None while one is made, and after one that failed.
        self._pairing: TwoParty | None = None

    def make(
        self,
        session: SessionId,
        names: Sequence[SessionId],
        plan: Plan,
        weights: bytes,
        pause: Callable[[], None],
        orders: Cancellation,
    ) -> Made:
        """Make bundles of this plan under these names, in step with the other worker.

        session: the meeting's, 16 fresh bytes.
        weights: the name of the masked weights, the same at both; runs have learned those of the
        plan's models.
        pause: called between exchanges; it may wait.

        It ends early with `orders`. Raises NotReady without the weights, Unreachable,
        TranscriptMismatch. Whatever is raised, nothing of the pairing is used again.
        """
        facts = sha256(b"privedge making v1" + weights)
        for kind in plan.kinds:
            facts.update(kind.purpose.encode() + b"\0")
        with self._met(session, facts.digest(), orders) as link:
            before, self._pairing = self._pairing, None
            pairing = TwoParty.joined(self._index, link, before, self._learned.weights())
            received = pairing.bytes_received
            bundles = pairing.bundles(plan.kinds, names, plan.models, pause)
            self._pairing = pairing
            return Made(bundles, pairing.bytes_received - received)

    @contextmanager
    def _met(self, session: SessionId, facts: bytes, orders: Cancellation) -> Iterator[PeerLink]:
        """The other worker's link, for the block. It ends with `orders`, and if the block fails, so
        that neither worker waits for the other.
        """
        cancellation = Cancellation()
        try:
            with orders.during(cancellation.cancel):
                agreement = Agreement(facts)
                met = self._meeting.open(
                    session, agreement, Deadline.after(_MAKING_S), cancellation
                )
                if met.mine.agreement != met.theirs.agreement:
                    raise NotReady("the parties are not about to make the same bundles")
                yield met.stream
                cancellation.disarm()
                met.stream.release()
        except BaseException:
            self._meeting.give_up(session)
            raise
        finally:
            cancellation.cancel()
