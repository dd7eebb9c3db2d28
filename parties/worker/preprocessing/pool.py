"""The pool of bundles that later queries will use. It exists in memory only.

A bundle leaves the pool the moment a run takes it, before anything masked with it is sent, and
nothing puts it back: a retry takes another one, and a restarted worker has none
(docs/protocol.md#pool).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Container
from dataclasses import dataclass, field

from parties.mpc.bundles import Bundle
from parties.worker.task import Kind


@dataclass(frozen=True)
class Prepared:
    """A bundle, its name at both parties, the masked weights it was made for, and its cost."""

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
        # Names of bundles that were taken for a run that is not over.
        self._in_use: set[bytes] = set()
        self._version = 0

    @property
    def version(self) -> int:
        """A number that every change raises; what runs take counts with the next `wake`."""
        with self._changed:
            return self._version

    def room(self, size: int) -> int:
        """How many more bundles of `size` bytes fit."""
        with self._changed:
            held = sum(each.size for named in self._ready.values() for each in named.values())
            return max(0, self._limit - held) // max(1, size)

    def put(self, kind: Kind, *prepared: Prepared) -> None:
        """Add bundles."""
        with self._changed:
            named = self._ready.setdefault(kind, OrderedDict())
            named.update((each.name, each) for each in prepared)
            self._notify()

    def take(self, kind: Kind) -> Prepared | None:
        """Remove the oldest bundle of a kind, for one run; None if there is none.

        Call `spent` when the run is over. Nobody who waits for a change is woken before `wake`:
        another bundle cannot be made while the run goes on, and looking would only delay it.
        """
        with self._changed:
            named = self._ready.get(kind)
            if not named:
                return None
            name, prepared = named.popitem(last=False)
            self._in_use.add(name)
            return prepared

    def spent(self, name: bytes) -> None:
        """The run that took this bundle is over, however it ended."""
        with self._changed:
            self._in_use.discard(name)

    def alive(self) -> list[bytes]:
        """Names of all bundles that are ready or in use."""
        with self._changed:
            return [*(name for named in self._ready.values() for name in named), *self._in_use]

    def take_named(self, kind: Kind, name: bytes) -> Prepared | None:
        """Remove the bundle that the other party took; None if it is not here. As for `take`,
        nobody is woken.
        """
        with self._changed:
            return self._ready.get(kind, OrderedDict()).pop(name, None)

    def count(self, kind: Kind) -> int:
        """How many bundles of a kind are ready."""
        with self._changed:
            return len(self._ready.get(kind, ()))

    def forget(self, worth_keeping: Callable[[Kind], bool] = lambda _: False) -> None:
        """Drop the bundles of all kinds but these; without an argument, all bundles."""
        with self._changed:
            kept = {kind: named for kind, named in self._ready.items() if worth_keeping(kind)}
            if len(kept) < len(self._ready):
                self._ready = kept
                self._notify()

    def keep_only(self, alive: Container[bytes]) -> None:
        """Drop all bundles but those with one of these names."""
        with self._changed:
            for named in self._ready.values():
                for name in [name for name in named if name not in alive]:
                    del named[name]
                    self._notify()

    def counts(self) -> dict[Kind, int]:
        """How many bundles of each kind are ready."""
        with self._changed:
            return {kind: len(named) for kind, named in self._ready.items()}

    def wait_changed(self, seen: int, timeout_s: float) -> int:
        """Wait until the pool has another version than `seen`; returns the version now."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen, timeout_s)
            return self._version

    def wake(self) -> None:
        """Let everybody who waits in `wait_changed` look again."""
        with self._changed:
            self._notify()

    def _notify(self) -> None:
        self._version += 1
        self._changed.notify_all()


class BundleChoice:
    """The bundle that one run uses. Party 0 picks it; party 1 matches it by name."""

    def __init__(self, pool: Pool, kind: Kind, *, usable: bool) -> None:
        """Nothing is picked unless `usable`: bundles need masked weights that this worker holds."""
        self._pool = pool
        self._kind = kind
        self._usable = usable
        self.taken: Prepared | None = None

    def pick(self) -> bytes:
        """Party 0: take the oldest bundle. It is gone from the pool, whatever party 1 answers.

        Returns its name, or b"" if there is none.
        """
        self.taken = self._pool.take(self._kind) if self._usable else None
        return self._name()

    def match(self, name: bytes) -> bytes:
        """Party 1: take the bundle that party 0 named. Returns the name, or b"" if it is gone."""
        self.taken = self._pool.take_named(self._kind, name)
        return self._name()

    def release(self) -> None:
        """The run is over, so the bundle is no longer in use."""
        if self.taken is not None:
            self._pool.spent(self.taken.name)

    def _name(self) -> bytes:
        return self.taken.name if self.taken is not None else b""
