"""Rates over time: a token bucket for each caller."""

import threading
import time
from collections.abc import Callable, Hashable

# Callers that are remembered before those are forgotten whose bucket is full again.
_MANY = 4096


class Rates:
    """At most `per_second` on average, and `burst` at once. Safe to call from many threads."""

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._lock = threading.Lock()
        # Of each caller: what was left, and when.
        self._left: dict[Hashable, tuple[float, float]] = {}

    def take(self, who: Hashable, amount: float = 1) -> float:
        """Take `amount`, and return 0; or take nothing, and return the seconds until there will be
        so much. More than `burst` at once counts as `burst`.
        """
        amount = min(amount, self._burst)
        with self._lock:
            now = self._clock()
            left = self._now(self._left.get(who, (self._burst, now)), now)
            if left < amount:
                return (amount - left) / self._per_second
            self._left[who] = left - amount, now
            if len(self._left) > _MANY:
                self._left = {
                    each: kept
                    for each, kept in self._left.items()
                    if self._now(kept, now) < self._burst
                }
        return 0

    def _now(self, kept: tuple[float, float], now: float) -> float:
        left, then = kept
        return min(self._burst, left + (now - then) * self._per_second)
