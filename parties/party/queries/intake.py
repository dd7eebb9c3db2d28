"""Whether a party takes queries: not before its workers can serve them, nor once it is to end."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from parties.serving.handshake import Handshake
from privedge.errors import Restarting


class Intake:
    """Counts the queries that are here. Safe to call from many threads."""

    def __init__(self, begun: Callable[[], bool], handshake: Handshake) -> None:
        """`begun`: whether every worker has served once. One that dies later is waited for.
        `require`: of `handshake`.
        """
        self.require = handshake.require
        self._begun = begun
        self._changed = threading.Condition()
        self._here = 0
        self.draining = False

    @contextmanager
    def query(self) -> Iterator[None]:
        """Take one query. Raises Restarting before anything of it is read."""
        with self._changed:
            if self.draining:
                raise Restarting("is about to end")
            if not self._begun():
                raise Restarting("is starting")
            self._here += 1
        try:
            yield
        finally:
            with self._changed:
                self._here -= 1
                self._changed.notify_all()

    @property
    def here(self) -> int:
        """How many queries are here: being received, waiting, running or being answered."""
        return self._here

    def fault(self) -> str:
        """Why no more queries are taken; empty if they are, or will be."""
        return "no more queries are taken; those that are here are finished" * self.draining

    def drain(self, within_s: float) -> None:
        """Take no more queries, and wait at most `within_s` seconds for those that are here."""
        with self._changed:
            self.draining = True
            self._changed.wait_for(lambda: not self._here, within_s)
