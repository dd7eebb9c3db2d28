"""What party 0's worker orders of party 1's during preprocessing, and what that answers: values."""

from dataclasses import dataclass, field
from enum import Enum, auto
from hashlib import sha256

from parties.worker.task import Kind


class State(Enum):
    """How far party 1's worker is with an order."""

    STARTED = auto()  # it takes part
    READY = auto()  # its shares of the bundles are drawn, or, after the audit, in its pool
    BUSY = auto()  # a query is running; ask again
    UNKNOWN = auto()  # not this snapshot, not these masked weights, or no rehearsal yet
    FAILED = auto()  # no room in its pool, or the dealer did not serve it


@dataclass(frozen=True)
class Order:
    """One rehearsal, or else some bundles.

    `session` is 16 fresh bytes: the session with the dealer, from which bundles have their names.
    `pairing` names the masked weights for which they are made; it is empty for a rehearsal. `alive`
    names every bundle that party 0 has in its pool or in use. `bundles` is how many it wants, and
    `opened` how many are drawn beside them for the audit.

    `audit`: party 0's words of one exchange of an audit (mpc/audit.py); None for other orders.
    """

    rehearsal: bool
    session: bytes
    kind: Kind
    pairing: bytes = b""
    alive: tuple[bytes, ...] = ()
    bundles: int = 1
    opened: int = 0
    audit: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Progress:
    """What party 1's worker answers. `bundles`: how many of those ordered it makes. `audit`: its
    words of one exchange of an audit.
    """

    state: State
    bundles: int = 1
    audit: bytes = field(default=b"", repr=False)


def bundle_names(session: bytes, count: int) -> list[bytes]:
    """Return the names of the bundles that both parties draw in one session with the dealer."""
    later = (sha256(session + number.to_bytes(8, "little")) for number in range(1, count))
    return [session, *(name.digest()[: len(session)] for name in later)]
