"""Bundles: the correlated randomness of one whole run, drawn before there is a query for it.

A bundle holds one party's shares of every tuple of a plan. It is drawn from the dealer in a session
of its own (docs/protocol.md#pool). Products with fixed weights are computed as far as possible
without an input: the bundle holds U_i in place of C_i (docs/protocol.md#fixed-products). Bundles
are in memory only, and a part is removed when it is drawn.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from parties.mpc.dealing import Ahead, SessionId, Tuples, TupleShares
from parties.mpc.fixed_product import FixedProduct, FixedWeight
from parties.mpc.tuples import TupleKind
from privedge.errors import TranscriptMismatch
from privedge.sharing.ring import WORD_BYTES


class Supply(Protocol):
    """The source of a session's correlated randomness: the dealer during the run, or a bundle."""

    # The session with the dealer or a bundle's name, and the kinds drawn so far, in order. They are
    # the same at both parties.
    run: SessionId
    used: list[TupleKind]

    def draw(self, kind: TupleKind) -> TupleShares:
        """Return this party's shares of the next tuple, which must be of `kind`."""

    def product(self, kind: FixedProduct, weight: FixedWeight) -> Ahead:
        """Return B_i and U_i of the next tuple, which must be of `kind`.

        B_i has the shape `kind.input` and U_i that of the output. Both are int64.
        """


class Bundle:
    """A Supply without a dealer, for one run. It holds masks, so it has no useful repr.

    seconds: the time that drawing it took.
    """

    def __init__(
        self,
        run: SessionId,
        parts: Sequence[tuple[TupleKind, TupleShares | Ahead]],
        seconds: float,
    ) -> None:
        self.run = run
        self.used: list[TupleKind] = []
        self.seconds = seconds
        self._parts = deque(parts)

    @staticmethod
    def drawn(
        tuples: Tuples,
        plan: Sequence[TupleKind],
        opened: Mapping[str, torch.Tensor],
        pause: Callable[[], None],
        name: SessionId | None = None,
    ) -> "Bundle":
        """Draw the whole plan from the dealer.

        opened: E for each weight's name, int64.
        pause: called before every tuple; it may wait.
        name: the bundle's; by default, that of the session with the dealer.
        """
        parts: list[tuple[TupleKind, TupleShares | Ahead]] = []
        seconds = 0.0
        for kind in plan:
            pause()
            started = time.perf_counter()
            if isinstance(kind, FixedProduct):
                # The whole product except the term that depends on the input: W_i * open(x - B).
                parts.append((kind, tuples.with_opened(kind, opened[kind.name])))
            else:
                parts.append((kind, tuples.draw(kind)))
            seconds += time.perf_counter() - started
        return Bundle(name or tuples.run, parts, seconds)

    @property
    def parts(self) -> list[tuple[TupleKind, TupleShares | Ahead]]:
        """What is left, in order; for an audit of a bundle that no run has."""
        return list(self._parts)

    def draw(self, kind: TupleKind) -> TupleShares:
        """Take the next part out of the bundle. Raises TranscriptMismatch for another kind."""
        part = self._next(kind)
        if not isinstance(part, TupleShares):
            raise TranscriptMismatch("a fixed product was prepared to be used as one")
        return part

    def product(self, kind: FixedProduct, weight: FixedWeight) -> Ahead:
        """Take out B_i and U_i of the next part, a fixed product made with E when it was drawn.

        Raises TranscriptMismatch for another kind.
        """
        part = self._next(kind)
        if isinstance(part, TupleShares):
            raise TranscriptMismatch("no fixed product was prepared here")
        return part

    def _next(self, kind: TupleKind) -> TupleShares | Ahead:
        if not self._parts or self._parts[0][0] != kind:
            raise TranscriptMismatch(f"tuple {len(self.used)} is not the prepared one")
        # The part is removed before it is used, so no mask can be used twice.
        self.used.append(kind)
        return self._parts.popleft()[1]


def size_of(plan: Sequence[TupleKind]) -> int:
    """Return the memory that a bundle of this plan needs, in bytes."""
    shapes = [shape for kind in plan for shape in (*kind.free, *kind.derived)]
    return WORD_BYTES * sum(map(math.prod, shapes))
