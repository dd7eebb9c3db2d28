"""Cancel a call whose peer is too slow: it sends slowly, stops sending, or sets no deadline."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import TypeVar

import grpc

T = TypeVar("T")


class _Alarms:
    """One thread for all time limits. A timer for each would cost every query two threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: dict[int, tuple[float, Callable[[], object]]] = {}
        self._numbers = count()
        self._wakes_at = float("inf")
        self._started = False

    def add(self, seconds: float, ring: Callable[[], object]) -> int:
        """Call `ring` after that many seconds. Returns the number that `remove` accepts."""
        at = time.monotonic() + seconds
        with self._changed:
            number = next(self._numbers)
            self._pending[number] = at, ring
            if not self._started:
                # A daemon, so that a slow peer cannot keep the process from ending.
                threading.Thread(target=self._watch, name="time limits", daemon=True).start()
                self._started = True
            elif at < self._wakes_at:
                self._changed.notify()
        return number

    def remove(self, number: int) -> None:
        """Remove an alarm. Does nothing if it has rung already."""
        with self._changed:
            self._pending.pop(number, None)

    def _watch(self) -> None:
        while True:
            for ring in self._due():
                with suppress(Exception):  # one failing call must not silence the other alarms
                    ring()

    def _due(self) -> list[Callable[[], object]]:
        """Wait until an alarm may be due, and remove and return all that are due."""
        with self._changed:
            now = time.monotonic()
            numbers = [number for number, (at, _) in self._pending.items() if at <= now]
            if not numbers:
                self._wakes_at = min((at for at, _ in self._pending.values()), default=float("inf"))
                self._changed.wait(None if self._wakes_at == float("inf") else self._wakes_at - now)
            return [self._pending.pop(number)[1] for number in numbers]


_alarms = _Alarms()


def ring_after(seconds: float, ring: Callable[[], object]) -> None:
    """Call `ring` after that many seconds. It must return quickly."""
    _alarms.add(seconds, ring)


@contextmanager
def rings_after(seconds: float, ring: Callable[[], object]) -> Iterator[None]:
    """Call `ring` if the block needs longer than `seconds`. It must return quickly."""
    number = _alarms.add(seconds, ring)
    try:
        yield
    finally:
        _alarms.remove(number)


@contextmanager
def given_up_after(seconds: float, context: grpc.ServicerContext) -> Iterator[None]:
    """Cancel the call if the block needs longer than `seconds`."""
    with rings_after(seconds, context.cancel):
        yield


def timely(requests: Iterator[T], seconds: float, context: grpc.ServicerContext) -> Iterator[T]:
    """Yield all `requests`. Cancels the call if they do not end within `seconds`.

    The time starts with the wait for the first request.
    """
    with given_up_after(seconds, context):
        yield from requests
