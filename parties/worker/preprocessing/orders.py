"""What party 0's worker orders of party 1's during preprocessing, and what that answers: values."""

from dataclasses import dataclass
from enum import Enum, auto

from parties.worker.task import Kind


class State(Enum):
    """How far party 1's worker is with an order."""

    STARTED = auto()  # it takes part
    READY = auto()  # its share of the bundle is in its pool
    BUSY = auto()  # a query is running; ask again
    UNKNOWN = auto()  # not this snapshot, not these masked weights, or no rehearsal yet
    FAILED = auto()  # no room in its pool, or the dealer did not serve it


@dataclass(frozen=True)
class Order:
    """One rehearsal, or else one bundle.

    `session` is 16 fresh bytes: the session with the dealer, and then the bundle's name. `pairing`
    names the masked weights for which the bundle is made; it is empty for a rehearsal. `alive`
    names every bundle that party 0 has in its pool or in use.
    """

    rehearsal: bool
    session: bytes
    kind: Kind
    pairing: bytes = b""
    alive: tuple[bytes, ...] = ()
