"""The check of a new model before it becomes active: are its values within bounds, and is its error
on public probes neither too small nor too large? (docs/protocol.md#model-check)

Party 0 leads; nothing of it runs in a cohort without a table [cohorts.model_check].

    1.  party 0 -> party 1   CheckModel: the model, and a query id
    2.  both parties         ask with the probes, party 0 with their words and party 1 with zeros,
                             on a snapshot of this one model; the two halves are paired, queued and
                             run like those of any query
    3.  both workers         the check; its result is a share of one bit (worker/model_check.py)
    4.  both parties         exchange their shares of it

Party 1 takes no word of party 0's for it: what it saw itself is in its registry (`Seen`), and in a
cohort with a check it makes no model active of which it saw nothing, whatever party 0 lists.

The bit is all that is opened, and not which bound was broken. A refused model is kept, in a
state of its own, until its owner deletes it; it becomes active if both operators release it.

Sees this party's share of the bit, as bytes; of the model only where its file is.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from parties.bounded_dict import BoundedDict
from parties.party.models.cohorts import Snapshot
from parties.party.models.tables import Model
from privedge.errors import NotReady
from privedge.rpc.server import MayLeave

# The longest run: a network in layers on all probes. Activations and deletions wait for it.
MODEL_CHECK_S = 50.0
_REMEMBERED = 1 << 12

# Asks on a snapshot of one model, as the query of this id: this party's share of the bit.
AskAlone = Callable[[Model, Snapshot, str, MayLeave], bytes]


class Seen(StrEnum):
    """Why this party lets a model become active, as its registry has it."""

    PASSED = "passed"  # it opened the bit of the check
    RELEASED = "released"  # its own operator and the other one have released it
    BEFORE = "before"  # it was active before the cohort had a check, or before this was recorded


@dataclass(frozen=True)
class Shown:
    """What party 0 shows party 1 when it asks it to prepare a model.

    enrolment, check: its shares of the bits of these two checks; empty without one, or if the
    operators are not told. released: party 0's operator has released the model, so there is none.
    """

    enrolment: bytes = field(default=b"", repr=False)
    check: bytes = field(default=b"", repr=False)
    released: bool = False


class ModelChecks:
    """The checks of one party since its start. Safe to call from several threads."""

    def __init__(self) -> None:
        # Set once the party takes queries.
        self.ask: AskAlone = _no_queries
        self._lock = threading.Lock()
        self._shares: BoundedDict[str, bytes] = BoundedDict(_REMEMBERED)

    def keep(self, model_id: str, share: bytes) -> None:
        """Party 1: remember this party's share of a model's bit."""
        with self._lock:
            self._shares[model_id] = share

    def share(self, model_id: str) -> bytes | None:
        """Party 1: the share of a model that was checked; None for any other."""
        with self._lock:
            return self._shares.get(model_id)


def _no_queries(*_: object) -> bytes:
    raise NotReady("no queries here")
