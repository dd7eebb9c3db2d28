"""Record everything that one party sees of a run. For attacks and tests only.

No setting of a server turns this on. The caller makes a RecordingSession and RecordingTuples, in
place of the Session and Tuples that a worker makes. No server may import this package
(pyproject.toml, "Servers never reach plaintext data").
"""

import queue
from dataclasses import dataclass, field

import numpy as np
import torch

from parties.mpc.bundles import Bundle, Supply
from parties.mpc.dealing import Ahead, Dealer, DealerLink, SessionId, Tuples, TupleShares
from parties.mpc.release import ReleaseKey
from parties.mpc.session import PeerLink, Session
from parties.mpc.tuples import TupleKind
from privedge.errors import TranscriptMismatch
from privedge.sharing.ring import WORD_BYTES

_TIMEOUT_S = 60


@dataclass
class Record:
    """Everything that one party sees of one run, except its inputs.

    seed: the seed that it sent the dealer; empty without one.
    tuples: its share of every tuple.
    sent, received: the words of every exchange, int64.
    making_sent, making_received: likewise of the messages by which the two parties made the tuples;
        empty with a dealer.
    """

    seed: bytes = field(default=b"", repr=False)
    tuples: list[tuple[TupleKind, TupleShares]] = field(default_factory=list, repr=False)
    sent: list[torch.Tensor] = field(default_factory=list, repr=False)
    received: list[torch.Tensor] = field(default_factory=list, repr=False)
    making_sent: list[torch.Tensor] = field(default_factory=list, repr=False)
    making_received: list[torch.Tensor] = field(default_factory=list, repr=False)

    @property
    def opened(self) -> list[torch.Tensor]:
        """The values that additive openings reveal, int64."""
        return [mine + theirs for mine, theirs in zip(self.sent, self.received, strict=True)]


class RecordingTuples(Tuples):
    """Tuples that are also recorded."""

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
        """Draw a tuple as Tuples does, and record it."""
        shares = super().draw(kind)
        self.record.tuples.append((kind, _copied(shares)))
        return shares


class RecordingLink:
    """A PeerLink whose messages are also recorded."""

    def __init__(self, link: PeerLink) -> None:
        self._link = link
        self.sent: list[torch.Tensor] = []
        self.received: list[torch.Tensor] = []

    def exchange(self, payload: bytes) -> bytearray:
        """Exchange as the link does, and record both messages."""
        theirs = self._link.exchange(payload)
        self.sent.append(_words(payload))
        self.received.append(_words(theirs))
        return theirs

    def clear(self) -> None:
        """Forget what was recorded until now."""
        self.sent, self.received = [], []


class RecordingBundle(Bundle):
    """A bundle that two parties made, recorded with the messages of its making."""

    def __init__(self, made: Bundle, link: RecordingLink) -> None:
        """`link`: what the making was sent over, and nothing else."""
        super().__init__(made.run, made.parts, made.seconds)
        tuples = [(kind, _copied(part)) for kind, part in made.parts]
        self.record = Record(tuples=tuples, making_sent=link.sent, making_received=link.received)


class RecordingSession(Session):
    """A session whose exchanges are also recorded, in its tuples' record if they have one."""

    def __init__(self, party: int, link: PeerLink, tuples: Supply, key: ReleaseKey) -> None:
        super().__init__(party, link, tuples, key)
        self.record = (
            tuples.record if isinstance(tuples, RecordingTuples | RecordingBundle) else Record()
        )

    def exchange(self, mine: torch.Tensor) -> torch.Tensor:
        """Exchange words as Session does, and record them."""
        theirs = super().exchange(mine)
        self.record.sent.append(mine.clone())
        self.record.received.append(theirs.clone())
        return theirs


class NearLink:
    """mpc.dealing.DealerLink to a dealer in the same process."""

    def __init__(self, dealer: Dealer, party: int) -> None:
        self._dealer, self._party = dealer, party
        self._requested: list[tuple[int, TupleKind]] = []

    def request(self, tuples: list[tuple[int, TupleKind]], *, last: bool = False) -> None:
        """Implements DealerLink.request."""
        self._requested += tuples

    def receive(self, counter: int) -> torch.Tensor:
        """Implements DealerLink.receive. Raises TranscriptMismatch for an unexpected counter."""
        requested, kind = self._requested.pop(0)
        if requested != counter:
            raise TranscriptMismatch(f"correction {requested} came for {counter}")
        return self._dealer.correct(self._party, counter, kind)


class QueueLink:
    """One end of an mpc.session.PeerLink within a process."""

    def __init__(self, out: "queue.Queue[bytes]", back: "queue.Queue[bytes]") -> None:
        self._out, self._back = out, back

    @staticmethod
    def pair() -> "tuple[QueueLink, QueueLink]":
        """Return both ends of a new link."""
        here: queue.Queue[bytes] = queue.Queue()
        there: queue.Queue[bytes] = queue.Queue()
        return QueueLink(here, there), QueueLink(there, here)

    def exchange(self, payload: bytes) -> bytearray:
        """Implements PeerLink.exchange."""
        self._out.put(payload)
        return bytearray(self._back.get(timeout=_TIMEOUT_S))

    def hang_up(self) -> None:
        """Release the other side from waiting. It receives an empty payload."""
        self._out.put(b"")


def _copied(part: TupleShares | Ahead) -> TupleShares:
    """A copy, because a protocol may compute in place on what it drew. Of a fixed product B_i and
    U_i take the place of its shares.
    """
    free, derived = (
        (part.free, part.derived) if isinstance(part, TupleShares) else ([part[0]], [part[1]])
    )
    return TupleShares([each.clone() for each in free], [each.clone() for each in derived])


def _words(message: bytes | bytearray) -> torch.Tensor:
    """Its whole words, int64."""
    whole = len(message) // WORD_BYTES
    return torch.from_numpy(np.frombuffer(message, np.int64, whole).copy())
