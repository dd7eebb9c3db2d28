"""A run that writes down all that one party sees of it. For attacks and tests only.

No setting of a server leads here: whoever wants a recording makes a RecordingSession and
RecordingTuples itself, in place of the Session and Tuples that a worker makes, and no server may
import this package (pyproject.toml, "Servers never reach plaintext data").
"""

import queue
from dataclasses import dataclass, field

import torch

from privedge.errors import TranscriptMismatch
from privedge.mpc.bundles import Supply
from privedge.mpc.dealing import Dealer, DealerLink, SessionId, Tuples, TupleShares
from privedge.mpc.session import PeerLink, Session
from privedge.mpc.tuples import TupleKind

_TIMEOUT_S = 60


@dataclass
class Record:
    """All that one party sees of one run beyond its inputs: the seed that it sent the dealer, its
    share of every tuple, and the words of every exchange, int64.
    """

    seed: bytes = field(default=b"", repr=False)
    tuples: list[tuple[TupleKind, TupleShares]] = field(default_factory=list, repr=False)
    sent: list[torch.Tensor] = field(default_factory=list, repr=False)
    received: list[torch.Tensor] = field(default_factory=list, repr=False)

    @property
    def opened(self) -> list[torch.Tensor]:
        """What additive openings open to."""
        return [mine + theirs for mine, theirs in zip(self.sent, self.received, strict=True)]


class RecordingTuples(Tuples):
    """Tuples that are also written down."""

    def __init__(
        self,
        party: int,
        run: SessionId,
        seed: bytes,
        link: DealerLink,
        plan: list[TupleKind] | None = None,
    ) -> None:
        super().__init__(party, run, seed, link, plan)
        self.record = Record(seed)

    def draw(self, kind: TupleKind) -> TupleShares:
        """As Tuples says."""
        shares = super().draw(kind)
        self.record.tuples.append((kind, shares))
        return shares


class RecordingSession(Session):
    """A session whose exchanges are also written down, in its tuples' record if they have one."""

    def __init__(self, party: int, link: PeerLink, tuples: Supply) -> None:
        super().__init__(party, link, tuples)
        self.record = tuples.record if isinstance(tuples, RecordingTuples) else Record()

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        """As Session says."""
        theirs = super().exchange(mine)
        self.record.sent.append(mine.clone())
        self.record.received.append(theirs.clone())
        return theirs


class NearLink:
    """mpc.dealing.DealerLink to a dealer in the same process."""

    def __init__(self, dealer: Dealer, party: int) -> None:
        self._dealer, self._party = dealer, party
        self._requested: list[tuple[int, TupleKind]] = []

    def request(self, tuples: list[tuple[int, TupleKind]]) -> None:
        """As DealerLink says."""
        self._requested += tuples

    def receive(self, counter: int) -> torch.Tensor:
        """As DealerLink says. Raises TranscriptMismatch if another one was asked for."""
        requested, kind = self._requested.pop(0)
        if requested != counter:
            raise TranscriptMismatch(f"correction {requested} came for {counter}")
        return self._dealer.correct(self._party, counter, kind)


class QueueLink:
    """mpc.session.PeerLink within a process: one end."""

    def __init__(self, out: "queue.Queue[bytes]", back: "queue.Queue[bytes]") -> None:
        self._out, self._back = out, back

    @staticmethod
    def pair() -> "tuple[QueueLink, QueueLink]":
        """Both ends."""
        here: queue.Queue[bytes] = queue.Queue()
        there: queue.Queue[bytes] = queue.Queue()
        return QueueLink(here, there), QueueLink(there, here)

    def exchange(self, payload: bytes) -> bytearray:
        """As PeerLink says."""
        self._out.put(payload)
        return bytearray(self._back.get(timeout=_TIMEOUT_S))

    def hang_up(self) -> None:
        """The other side waits no longer; what it gets next is empty."""
        self._out.put(b"")
