"""Repeat calls that may be repeated: a server was too busy for them, or was away for a moment.

Only for calls that change nothing, or that end the same if they are made twice.
"""

import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

from privedge.errors import Busy, Cancelled, Unreachable
from privedge.rpc.deadline import Deadline
from privedge.rpc.status import calls_to

T = TypeVar("T")

# The first pause; each is twice as long as the one before.
_FIRST_S, _LONGEST_S = 0.25, 4.0
# Of a server that cannot be reached.
_TRIES = 3


def retried(call: Callable[[float], T], within_s: float) -> T:
    """Return what `call(seconds_left)` returns.

    It is repeated after Busy as long as there is time, and after Unreachable twice. A pause is as
    long as the server asked for, or longer. Raises what the last try raised.
    """
    deadline, pause_s = Deadline.after(within_s), _FIRST_S
    tries = 0
    while True:
        tries += 1
        try:
            return call(deadline.remaining())
        except Busy as busy:
            wait_s = _jittered(max(pause_s, busy.retry_after_s))
            if wait_s >= deadline.at - time.monotonic():
                raise
        except Unreachable as lost:
            wait_s = _jittered(pause_s)
            over = wait_s >= deadline.at - time.monotonic()
            if over or tries >= _TRIES or isinstance(lost, Cancelled):
                raise
        time.sleep(wait_s)
        pause_s = min(2 * pause_s, _LONGEST_S)


def told(method: Callable[..., Any], request: Any, *, peer: str, within_s: float) -> Any:
    """Return the answer of `peer` to a call with one request, repeated as by `retried`."""

    def call(timeout_s: float) -> Any:
        with calls_to(peer):
            return method(request, timeout=timeout_s)

    return retried(call, within_s)


def _jittered(seconds: float) -> float:
    """Up to half as long again, so that callers who were refused together do not return so."""
    return seconds * (1 + secrets.randbelow(500) / 1000)
