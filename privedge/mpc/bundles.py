"""Bundles: the correlated randomness of one whole run, drawn before there is a query for it.

A bundle is one party's shares of every tuple of a plan, drawn from the dealer in a session of the
bundle's own (docs/protocol.md#pool). Products with fixed weights are computed as far as possible
without an input: the bundle holds U_i in place of C_i (docs/protocol.md#fixed-products). Bundles
live in memory only, and a part that was drawn is gone.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from privedge.errors import TranscriptMismatch
from privedge.mpc.dealing import Ahead, SessionId, Tuples, TupleShares
from privedge.mpc.fixed_product import FixedProduct
from privedge.mpc.tuples import TupleKind
from privedge.sharing.ring import WORD_BYTES


class Supply(Protocol):
    """Where a session gets its correlated randomness: from the dealer as it runs, or a bundle."""

    # The session with the dealer, and the kinds drawn so far, in order: the same at both parties.
    run: SessionId
    used: list[TupleKind]

    def draw(self, kind: TupleKind) -> TupleShares:
        """This party's shares of the next tuple, which must be of `kind`."""

    def product(self, kind: FixedProduct, opened: torch.Tensor) -> Ahead:
        """B_i (kind.input) and U_i (the output's shape) of the next tuple, which must be of `kind`;
        `opened` is E (kind.masked). All int64.
        """


class Bundle:
    """mpc.bundles.Supply without a dealer, for one run. No useful repr: it holds masks.

    `seconds` is how long drawing it was.
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
    ) -> "Bundle":
        """Draw the whole plan. `opened` has E by the weight's name; `pause` is called before every
        tuple, and may wait.
        """
        parts: list[tuple[TupleKind, TupleShares | Ahead]] = []
        seconds = 0.0
        for kind in plan:
            pause()
            started = time.perf_counter()
            if isinstance(kind, FixedProduct):
                # All of the product but what the input decides: W_i * open(x - B).
                parts.append((kind, tuples.product(kind, opened[kind.name])))
            else:
                parts.append((kind, tuples.draw(kind)))
            seconds += time.perf_counter() - started
        return Bundle(tuples.run, parts, seconds)

    def draw(self, kind: TupleKind) -> TupleShares:
        """The next part, which leaves the bundle. Raises TranscriptMismatch for another kind."""
        part = self._next(kind)
        if not isinstance(part, TupleShares):
            raise TranscriptMismatch("a fixed product was prepared to be used as one")
        return part

    def product(self, kind: FixedProduct, opened: torch.Tensor) -> Ahead:
        """The next part, if it is a fixed product: B_i and U_i, made with E when it was drawn."""
        part = self._next(kind)
        if isinstance(part, TupleShares):
            raise TranscriptMismatch("no fixed product was prepared here")
        return part

    def _next(self, kind: TupleKind) -> TupleShares | Ahead:
        if not self._parts or self._parts[0][0] != kind:
            raise TranscriptMismatch(f"tuple {len(self.used)} is not the prepared one")
        # Taken out before it is used, so that no mask can be used twice.
        self.used.append(kind)
        return self._parts.popleft()[1]


def size_of(plan: Sequence[TupleKind]) -> int:
    """How many bytes a bundle of this plan has in memory."""
    shapes = [shape for kind in plan for shape in (*kind.free, *kind.derived)]
    return WORD_BYTES * sum(map(math.prod, shapes))
