"""The pool of bundles: what is prepared for queries to come, in memory only.

A bundle leaves the pool in the moment it is taken, before anything masked with it is sent, and
nothing puts it back: a retry takes another one, and a restart knows of none
(docs/protocol.md#pool).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from parties.worker.task import Kind
from privedge.mpc.bundles import Bundle


@dataclass(frozen=True)
class Prepared:
    """A bundle, its name at both parties, under which masked weights it was made, its cost."""

    name: bytes
    pairing: bytes
    bundle: Bundle = field(repr=False)
    size: int
    bytes_from_dealer: int


class Pool:
    """Bundles by kind. Safe to call from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._changed = threading.Condition()
        self._ready: dict[Kind, OrderedDict[bytes, Prepared]] = {}
        # Taken for a run that is not over.
        self._in_use: set[bytes] = set()
        self._version = 0

    @property
    def version(self) -> int:
        """Another one after every change."""
        with self._changed:
            return self._version

    def has_room(self, size: int) -> bool:
        """Whether another bundle of that many bytes fits."""
        with self._changed:
            held = sum(each.size for line in self._ready.values() for each in line.values())
            return held + size <= self._limit

    def put(self, kind: Kind, prepared: Prepared) -> None:
        """Add one."""
        with self._changed:
            self._ready.setdefault(kind, OrderedDict())[prepared.name] = prepared
            self._notify()

    def take(self, kind: Kind) -> Prepared | None:
        """The oldest of a kind, for this run and no other. Say `spent` when the run is over."""
        with self._changed:
            line = self._ready.get(kind)
            if not line:
                return None
            self._notify()
            name, prepared = line.popitem(last=False)
            self._in_use.add(name)
            return prepared

    def spent(self, name: bytes) -> None:
        """The run that took it is over, however it ended."""
        with self._changed:
            self._in_use.discard(name)

    def alive(self) -> list[bytes]:
        """Names of all that are ready or in use."""
        with self._changed:
            return [*(name for line in self._ready.values() for name in line), *self._in_use]

    def take_named(self, kind: Kind, name: bytes) -> Prepared | None:
        """The one the other party took."""
        with self._changed:
            prepared = self._ready.get(kind, OrderedDict()).pop(name, None)
            self._notify()
            return prepared

    def count(self, kind: Kind) -> int:
        """How many are ready."""
        with self._changed:
            return len(self._ready.get(kind, ()))

    def forget(self, worth_keeping: Callable[[Kind], bool] = lambda _: False) -> None:
        """Drop all but these kinds; without argument all."""
        with self._changed:
            kept = {kind: line for kind, line in self._ready.items() if worth_keeping(kind)}
            if len(kept) < len(self._ready):
                self._ready = kept
                self._notify()

    def forget_but(self, alive: Container[bytes]) -> None:
        """Drop all but those of these names."""
        with self._changed:
            for line in self._ready.values():
                for name in [name for name in line if name not in alive]:
                    del line[name]
                    self._notify()

    def counts(self) -> dict[Kind, int]:
        """How many of each kind."""
        with self._changed:
            return {kind: len(line) for kind, line in self._ready.items()}

    def wait_changed(self, seen: int, timeout_s: float) -> int:
        """Wait until the pool is not as it was at version `seen`; returns the version now."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen, timeout_s)
            return self._version

    def wake(self) -> None:
        """Let whoever waits look around."""
        with self._changed:
            self._notify()

    def _notify(self) -> None:
        self._version += 1
        self._changed.notify_all()
