"""engine = "fused": weights masked once, comparison and ReLU in four rounds (docs/protocol.md)."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from parties.mpc import triples
from parties.mpc.crypten_backend.provider import kind_of
from parties.mpc.crypten_backend.reference import Reference
from parties.mpc.engine import Weight
from parties.mpc.fixed_product import FixedProduct, FixedWeight, MaskedWeights
from parties.mpc.fused import choice, compare, pairs, squares
from parties.mpc.fused.tuples import EXACT_BITS
from parties.mpc.products import Map, runs
from parties.mpc.session import Session
from parties.mpc.tuples import Shape
from parties.mpc.window import PLAIN, Window
from privedge.sharing.fixed_point import FRACTIONAL_BITS

# How many kinds of products are remembered: a cohort has some ten for each number of images.
_KINDS = 1 << 10


class Fused(Reference):
    """This project's protocols in the place of CrypTen's. Shapes are those of the base class."""

    fixes_weights = True

    def __init__(self, session: Session, masked: MaskedWeights, *, exact: bool = False) -> None:
        """`exact`: truncation is the floor, as in the clear; else the floor or one unit more."""
        super().__init__(session)
        self._masked = masked
        self._exact = exact

    def round_exactly(self) -> None:
        """From now on truncation is the floor, whatever it was before."""
        self._exact = True

    # --- Products ---

    def product(
        self, op: str, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        """One round; both factors are opened under masks of their own."""
        kind = kind_of(op, tuple(x.shape), tuple(y.shape), **options)
        return triples.product(self.session, kind, x, y)

    def square(self, x: torch.Tensor) -> torch.Tensor:
        """One round."""
        return triples.squared(self.session, x)

    def truncated_square(self, x: torch.Tensor) -> torch.Tensor:
        """One round; four for an exact truncation."""
        if self._exact:
            return super().truncated_square(x)
        return squares.truncated_square(self.session, x, bits=FRACTIONAL_BITS)

    def products(
        self,
        kind: Map,
        x: torch.Tensor,
        weights: list[Weight[torch.Tensor]],
        window: Window = PLAIN,
    ) -> list[torch.Tensor]:
        """The map of x with each weight, in one round (docs/protocol.md#fixed-products): 8 bytes
        for each input element and weight.
        """
        given = tuple(x.shape)
        kinds = [
            _kind(kind, weight.name, tuple(weight.number.shape), given, window)
            for weight in weights
        ]
        # 1. What does not need x: W_i as it is multiplied, E, and from the dealer or a bundle B_i
        #    and U_i, a share of W * B. E is opened here if this is the snapshot's first query.
        prepared = [
            self._prepared(wanted, weight.number)
            for wanted, weight in zip(kinds, weights, strict=True)
        ]
        ahead = [self._ahead(*pair) for pair in zip(kinds, prepared, strict=True)]
        # 2. Open D = x - B, for each weight under a mask B of its own. B is fresh: D is uniform.
        masked = x.new_empty(len(ahead), *given)
        for mine, (mask, _) in zip(masked, ahead, strict=True):
            torch.sub(x, mask, out=mine)
        public = self.session.exchange(masked).view(masked.shape).add_(masked)
        # 3. Local: z_i = W_i * D + U_i, a share of W * (x - B) + W * B = W * x.
        return [
            wanted.apply(seen, weight).add_(product)
            for wanted, seen, weight, (_, product) in zip(
                kinds, public, prepared, ahead, strict=True
            )
        ]

    def _prepared(self, kind: FixedProduct, weight: torch.Tensor) -> torch.Tensor:
        """This party's share of the weight in the form that products use, int64 of kind.masked.
        Local; unless it is the weight itself, it is made once for a snapshot.
        """
        if kind.masked == kind.weight:
            return weight
        known = self._masked.constants
        if kind.name not in known:
            known[kind.name] = kind.prepared(weight)
        return known[kind.name]

    def _ahead(
        self, kind: FixedProduct, prepared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """B_i (x's shape) and U_i (the output's) of the next tuple: all that does not need x."""
        # E is opened only if the supply asks for it: a bundle has the product already.
        weight = FixedWeight(prepared, lambda: self._opened(kind, prepared))
        return self.session.tuples.product(kind, weight)

    def _opened(self, kind: FixedProduct, prepared: torch.Tensor) -> torch.Tensor:
        """E = W - A, int64 of kind.masked: a round for each run of owners in the first query of a
        snapshot, at hand in all others.
        """
        known = self._masked.opened
        if kind.name not in known:
            with self.phase("weights"):
                known[kind.name] = self._open(kind, prepared)
        return known[kind.name]

    def _open(self, kind: FixedProduct, prepared: torch.Tensor) -> torch.Tensor:
        opened = torch.empty_like(prepared)
        for run in runs(kind.masked):
            # Open W - A. A is uniform and, by the seed, used for this W only: E says nothing of W,
            # and may stay public for as long as the seed is kept.
            mask = kind.weight_mask(self._masked.seed, run).to(prepared.device)
            mine = torch.sub(prepared[run], mask, out=opened[run])
            mine += self.session.exchange(mine).view(mine.shape)
        return opened

    def constant(self, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Kept with the masked weights, and for as long as they are."""
        known = self._masked.constants
        if name not in known:
            with self.phase("weights"):
                known[name] = compute()
        return known[name]

    # --- Comparisons, and what goes with them ---

    def truncate(self, x: torch.Tensor, *, bits: int = FRACTIONAL_BITS) -> torch.Tensor:
        """One round, as in the reference; exact, three rounds for every 16 bits begun."""
        if not self._exact:
            return super().truncate(x, bits=bits)
        # Exact tuples shift by EXACT_BITS only; a floor of a floor is the floor of both.
        while bits > EXACT_BITS:
            x = compare.truncated(self.session, x, bits=EXACT_BITS)
            bits -= EXACT_BITS
        return compare.truncated(self.session, x << (EXACT_BITS - bits), bits=EXACT_BITS)

    def relu_and_value(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Both in the four rounds of one comparison. Needs |x| < 2^48."""
        positive, value = compare.rectified(
            self.session, x, bits=FRACTIONAL_BITS, exact=self._exact
        )
        return positive, value

    def negative(self, x: torch.Tensor, *, bits: int = 63) -> torch.Tensor:
        """Three rounds for 16 bits, else four. 63 bits are exact for every ring element."""
        return compare.negative(self.session, x, bits=bits)

    def lesser(
        self, first: torch.Tensor, second: torch.Tensor, *, bits: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The rounds of one comparison, 8 bytes for each number and 1.5 to 4.25 for each pair."""
        return pairs.lesser(self.session, first, second, bits=bits)

    def chosen(
        self, index: torch.Tensor, values: torch.Tensor, *, below: int, places: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One round, 8 bytes for each index and value."""
        return choice.chosen(self.session, index, values, below=below, places=places)


# One instance for all queries, because a kind keeps what it computes from its shapes.
@lru_cache(_KINDS)
def _kind(kind: Map, name: str, weight: Shape, given: Shape, window: Window) -> FixedProduct:
    return FixedProduct(kind, name, weight, given, window)
