"""The check at enrolment: is the person of a new model among the owners already?

Party 0 leads; nothing of it runs in a cohort whose `enrolment_check` is "off".

    1.  party 0 -> party 1   CheckEnrolment: the model, the active models to ask, a query id
    2.  both parties         take the mean of the new model out of their own share of it, as their
                             half of that query; it is paired, queued and run like any other
    3.  both workers         the cohort's rule over all models but those of this owner; the
                             one-hot answer is added up, so the result is a share of one bit
    4.  "operator"           the parties exchange their shares of it
        "owner"              each gives its share to the owner, and never sees the other one

The owner sends no vector for it, so it cannot ask with another one than its model's. Nothing but
the bit is opened: not who it was, and no distance. With fewer than two other owners a model is not
checked, because the rule compares the best with the others (mpc/decision.py); with public rivals,
one other owner is enough.

Sees this party's share of the mean and of the bit, as bytes.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from parties.bounded_dict import BoundedDict
from parties.party.models.cohorts import Snapshot
from parties.party.models.tables import Model
from privedge.errors import NotReady, PrivEdgeError
from privedge.rpc.server import MayLeave
from privedge.sharing.ring import WORD_BYTES

FEWEST_OTHERS = 2
# A check takes one query's time; activations and deletions wait for it.
CHECK_S = 20.0
_REMEMBERED = 1 << 12

# Asks for a model, with its mean, on pinned models, as the query of this id: this party's share.
Ask = Callable[[Model, bytes, Snapshot, str, MayLeave], bytes]


class Outcome(StrEnum):
    """What the operators are told of a model, and what the audit logs say."""

    NEW = "new"
    KNOWN = "known"
    UNCHECKED = "unchecked"  # too few other owners
    OWNERS = "told the owner"


@dataclass(frozen=True)
class Activated:
    """What the owner is told of an activation beside the snapshot.

    replaced: id of its model that was active before; empty if none was.
    checked: None if the owner is not told of the check; else whether there was one.
    share: this party's share of the bit, one word; empty if there was no check.
    """

    replaced: str = ""
    checked: bool | None = None
    share: bytes = field(default=b"", repr=False)


class Enrolments:
    """The checks of one party since its start. Safe to call from several threads."""

    def __init__(self) -> None:
        # Set once the party takes queries.
        self.ask: Ask = _no_queries
        self._lock = threading.Lock()
        self._shares: BoundedDict[str, bytes] = BoundedDict(_REMEMBERED)
        # What owners were told, because an activation may be asked for again.
        self._told: BoundedDict[str, Activated] = BoundedDict(_REMEMBERED)

    def keep(self, model_id: str, share: bytes) -> None:
        """Party 1: remember this party's share of a model's bit."""
        with self._lock:
            self._shares[model_id] = share

    def share(self, model_id: str) -> bytes | None:
        """Party 1: the share of a model that was checked; None for any other."""
        with self._lock:
            return self._shares.get(model_id)

    def tell(self, model_id: str, told: Activated) -> None:
        """Party 0: remember what the owner of a model is told."""
        with self._lock:
            self._told[model_id] = told

    def told(self, model_id: str) -> Activated:
        """Party 0: what the owner of a model is told; nothing of one that it has forgotten."""
        with self._lock:
            return self._told.get(model_id, Activated())


def enough_others(snapshot: Snapshot, owner: str) -> bool:
    """Whether a new model of `owner` can be checked against these: the rule compares the best with
    other owners, or with public rivals.
    """
    fewest = FEWEST_OTHERS if snapshot.cohort.rivals is None else 1
    return sum(model.owner != owner for model in snapshot.models) >= fewest


def opened(mine: bytes, theirs: bytes) -> Literal[Outcome.NEW, Outcome.KNOWN]:
    """The bit of two shares. Raises PrivEdgeError if they are no words.

    A model whose values are out of range can make more than a bit of it, and counts as known.
    """
    if len(mine) != WORD_BYTES or len(theirs) != WORD_BYTES:
        raise PrivEdgeError("a check at enrolment: a share is one word")
    words = (int.from_bytes(share, "little") for share in (mine, theirs))
    found = sum(words) % (1 << (8 * WORD_BYTES))
    return Outcome.KNOWN if found else Outcome.NEW


def _no_queries(*_: object) -> bytes:
    raise NotReady("no queries here")
