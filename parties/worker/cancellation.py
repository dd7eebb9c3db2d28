"""What to end when a run fails or its caller leaves, so that nobody waits in vain."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc


class Cancellation:
    """The steps that end a run early. Safe to call from several threads."""

    def __init__(self, context: grpc.ServicerContext | None = None) -> None:
        """With a `context`, the steps also run when its caller leaves."""
        self.cancelled = threading.Event()
        self._steps: list[Callable[[], object]] = []
        self._heeds_caller = True
        if context is not None and not context.add_callback(self._caller_left):
            self.cancel()

    def add(self, step: Callable[[], object]) -> None:
        """Add a step. It runs at once if the run was cancelled before."""
        self._steps.append(step)
        if self.cancelled.is_set():
            step()

    def outlive_caller(self) -> None:
        """From now on the run goes on when its caller leaves."""
        self._heeds_caller = False

    def _caller_left(self) -> None:
        if self._heeds_caller:
            self.cancel()

    @contextmanager
    def during(self, step: Callable[[], object]) -> Iterator[None]:
        """Add a step that is removed again when the block ends."""
        self.add(step)
        try:
            yield
        finally:
            self._steps.remove(step)

    def disarm(self) -> None:
        """Remove all steps: the run ended well."""
        self._steps = []

    def cancel(self) -> None:
        """Run all steps."""
        self.cancelled.set()
        for step in list(self._steps):
            step()
