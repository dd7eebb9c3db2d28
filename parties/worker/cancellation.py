"""What to hang up when a run fails or its caller has left, so that nobody waits in vain."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc


class Cancellation:
    """The steps that end a run early. Safe to call from several threads."""

    def __init__(self, context: grpc.ServicerContext | None = None) -> None:
        """With a `context`, its caller's leaving is one reason."""
        self.given_up = threading.Event()
        self._steps: list[Callable[[], object]] = []
        if context is not None and not context.add_callback(self.now):
            self.now()

    def also(self, step: Callable[[], object]) -> None:
        """Add a step; it runs at once if it is too late already."""
        self._steps.append(step)
        if self.given_up.is_set():
            step()

    @contextmanager
    def during(self, step: Callable[[], object]) -> Iterator[None]:
        """`step` is one of them inside the block only."""
        self.also(step)
        try:
            yield
        finally:
            self._steps.remove(step)

    def not_needed(self) -> None:
        """The run ended well."""
        self._steps = []

    def now(self) -> None:
        """Hang up."""
        self.given_up.set()
        for step in list(self._steps):
            step()
