"""Repeat calls that may be repeated: a server was too busy for them, or was away for a moment.

Only for calls that change nothing, or that end the same if they are made twice.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any, TypeVar

from privedge.errors import (
    Busy,
    Cancelled,
    PrivEdgeError,
    Restarting,
    SnapshotChanged,
    Unreachable,
)
from privedge.rpc.deadline import Deadline
from privedge.rpc.status import calls_to

T = TypeVar("T")

# The first pause; each is twice as long as the one before.
_FIRST_S, _LONGEST_S = 0.25, 4.0
# How often a call is made again that lost its connection, at least.
_LOST = 2


class Again(StrEnum):
    """For how long our client makes a refused call again.

    PLACE: `retries` times. STARTED: as long as there is time. LOST: twice, or as long
    as there is time.
    CHANGED: a query, twice, with a fresh description of its cohort (client/query.py).
    """

    NEVER = "never"
    PLACE = "place"
    STARTED = "started"
    LOST = "lost"
    CHANGED = "changed"


# The first that fits counts; no other refusal is answered with the same call.
_AGAIN: dict[type[PrivEdgeError], Again] = {
    # By a server that ends: our own cancelling follows from another error, which is raised instead.
    Cancelled: Again.LOST,
    Restarting: Again.STARTED,
    Unreachable: Again.LOST,
    Busy: Again.PLACE,
    SnapshotChanged: Again.CHANGED,
}


def again(kind: type[Exception]) -> Again:
    """Return whether, and for how long, a call is repeated that was refused as `kind`."""
    return next((how for known, how in _AGAIN.items() if issubclass(kind, known)), Again.NEVER)


@dataclass(frozen=True)
class Patience:
    """All tries of a call together last `within_s` seconds; after the first there are `retries`.

    answered: whether the server has answered before. Then one that cannot be reached may be
    restarting, and is tried as long as there is time.
    """

    within_s: float
    retries: int
    answered: bool = False


def retried(call: Callable[[float], T], patience: Patience) -> T:
    """Return what `call(seconds_left)` returns.

    It is repeated after Busy, after Restarting as long as there is time, and after another
    Unreachable twice at most, or as long as there is time if the server has answered before. A
    pause is as long as the server asked for, or longer. Raises what the last try raised.
    """
    deadline, pause_s = Deadline.after(patience.within_s), _FIRST_S
    for tried in count():
        try:
            return call(deadline.remaining())
        except (Busy, Unreachable) as error:
            hint_s = error.retry_after_s if isinstance(error, Busy | Restarting) else 0.0
            # By chance, or all who were refused together would return together.
            wait_s = max(pause_s, hint_s) * (1 + secrets.randbelow(500) / 1000)
            late = wait_s >= deadline.at - time.monotonic()
            if late or not _again(error, tried, patience):
                raise
        time.sleep(wait_s)
        pause_s = min(2 * pause_s, _LONGEST_S)
    raise AssertionError("unreachable")


def _again(error: PrivEdgeError, tried: int, patience: Patience) -> bool:
    match again(type(error)) if patience.retries else Again.NEVER:
        case Again.STARTED:
            return True
        case Again.PLACE:
            return tried < patience.retries
        case Again.LOST:
            return patience.answered or tried < min(patience.retries, _LOST)
    return False


def told(method: Callable[..., Any], request: Any, *, peer: str, patience: Patience) -> Any:
    """Return the answer of `peer` to a call with one request, repeated as by `retried`."""

    def call(timeout_s: float) -> Any:
        with calls_to(peer):
            return method(request, timeout=timeout_s)

    return retried(call, patience)
