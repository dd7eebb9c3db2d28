"""engine = "fused": weights masked once, comparison and ReLU in four rounds (docs/protocol.md).

Its numbers are Shared, because each operation of CrypTen's copies the whole tensor first.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from parties.mpc import triples
from parties.mpc.crypten_backend.engine import CryptenEngine, Share
from parties.mpc.crypten_backend.provider import kind_of
from parties.mpc.engine import Weight
from parties.mpc.fixed_product import FixedProduct, FixedWeight, MaskedWeights
from parties.mpc.fused import choice, compare, squares
from parties.mpc.fused.tuples import EXACT_BITS
from parties.mpc.products import Map, runs
from parties.mpc.session import Session
from parties.mpc.shares import Shared
from parties.mpc.tuples import Shape
from parties.mpc.window import PLAIN, Window
from privedge.sharing.fixed_point import FRACTIONAL_BITS

# How many kinds of products are remembered: a cohort has some ten for each number of images.
_KINDS = 1 << 10


class FusedEngine(CryptenEngine):
    """mpc.engine.Engine over secret shares, which has the shapes. One per thread at a time."""

    fixes_weights = True

    def __init__(self, session: Session, masked: MaskedWeights, *, exact: bool = False) -> None:
        """`exact`: truncation is the floor, as in the clear; else the floor or one unit more."""
        super().__init__(session)
        self._exact = exact
        self._masked = masked

    @staticmethod
    def share(words: torch.Tensor) -> Share:
        """Wrap this party's share (int64 of any shape)."""
        return Shared(words)

    def multiply(self, x: Share, y: Share) -> Share:
        """One round; both factors are opened under masks of their own."""
        return self.share(self.product("mul", x.share, y.share, {}))

    def product(
        self, op: str, x: torch.Tensor, y: torch.Tensor, options: dict[str, Any]
    ) -> torch.Tensor:
        """Shares of CrypTen's `op` of shares x and y, int64; `options` are torch's. One round."""
        kind = kind_of(op, tuple(x.shape), tuple(y.shape), **options)
        return triples.product(self._session, kind, x, y)

    def square(self, x: Share) -> Share:
        """One round."""
        return self.share(triples.squared(self._session, x.share))

    def dense(self, x: Share, weight: Weight[Share]) -> Share:
        return self._fixed("dense", x, weight)

    def dense_each(self, x: Share, weights: list[Weight[Share]]) -> list[Share]:
        return self._fixed_each("dense", x, weights)

    def dense_back(self, x: Share, weight: Weight[Share]) -> Share:
        return self._fixed("dense_back", x, weight)

    def convolve(self, x: Share, weight: Weight[Share], window: Window) -> Share:
        return self._fixed("conv", x, weight, window)

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
            mine += self._session.exchange(mine).view(mine.shape)
        return opened

    def _fixed(self, kind: Map, x: Share, weight: Weight[Share], window: Window = PLAIN) -> Share:
        return self._fixed_each(kind, x, [weight], window)[0]

    def _fixed_each(
        self, kind: Map, x: Share, weights: list[Weight[Share]], window: Window = PLAIN
    ) -> list[Share]:
        """The map of x with each weight, in one round (docs/protocol.md#fixed-products): 8 bytes
        for each input element and weight.
        """
        given = tuple(x.share.shape)
        kinds = [
            _kind(kind, weight.name, tuple(weight.number.share.shape), given, window)
            for weight in weights
        ]
        # 1. What does not need x: W_i as it is multiplied, E, and from the dealer or a bundle B_i
        #    and U_i, a share of W * B. E is opened here if this is the snapshot's first query.
        prepared = [self._prepared(*pair) for pair in zip(kinds, weights, strict=True)]
        ahead = [self._ahead(*pair) for pair in zip(kinds, prepared, strict=True)]
        # 2. Open D = x - B, for each weight under a mask B of its own. B is fresh: D is uniform.
        masked = x.share.new_empty(len(ahead), *x.share.shape)
        for mine, (mask, _) in zip(masked, ahead, strict=True):
            torch.sub(x.share, mask, out=mine)
        public = self._session.exchange(masked).view(masked.shape).add_(masked)
        # 3. Local: z_i = W_i * D + U_i, a share of W * (x - B) + W * B = W * x.
        return [
            self.share(wanted.apply(seen, weight).add_(product))
            for wanted, seen, weight, (_, product) in zip(
                kinds, public, prepared, ahead, strict=True
            )
        ]

    def _prepared(self, kind: FixedProduct, weight: Weight[Share]) -> torch.Tensor:
        """This party's share of the weight in the form that products use, int64 of kind.masked.
        Local; unless it is the weight itself, it is made once for a snapshot.
        """
        if kind.masked == kind.weight:
            mine: torch.Tensor = weight.number.share
            return mine
        known = self._masked.constants
        if kind.name not in known:
            known[kind.name] = kind.prepared(weight.number.share)
        return known[kind.name]

    def _ahead(
        self, kind: FixedProduct, prepared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """B_i (x's shape) and U_i (the output's) of the next tuple: all that does not need x."""
        # E is opened only if the supply asks for it: a bundle has the product already.
        weight = FixedWeight(prepared, lambda: self._opened(kind, prepared))
        return self._session.tuples.product(kind, weight)

    def constant(self, name: str, compute: Callable[[], Share]) -> Share:
        """Kept with the masked weights, and for as long as they are."""
        known = self._masked.constants
        if name not in known:
            with self.phase("weights"):
                known[name] = compute().share
        return self.share(known[name])

    def truncate(self, x: Share, *, bits: int = FRACTIONAL_BITS) -> Share:
        """One round, as in the reference engine; exact, three rounds for every 16 bits begun."""
        if not self._exact:
            return super().truncate(x, bits=bits)
        share = x.share
        # Exact tuples shift by EXACT_BITS only; a floor of a floor is the floor of both.
        while bits > EXACT_BITS:
            share = compare.truncated(self._session, share, bits=EXACT_BITS)
            bits -= EXACT_BITS
        share = share << (EXACT_BITS - bits)
        return self.share(compare.truncated(self._session, share, bits=EXACT_BITS))

    def truncated_square(self, x: Share) -> Share:
        """One round; four for an exact truncation."""
        if self._exact:
            return super().truncated_square(x)
        return self.share(squares.truncated_square(self._session, x.share, bits=FRACTIONAL_BITS))

    def chosen(
        self, index: Share, values: Share, *, below: int, places: int
    ) -> tuple[Share, Share]:
        """One round, 8 bytes for each index and value."""
        hot, products = choice.chosen(
            self._session, index.share, values.share, below=below, places=places
        )
        return self.share(hot), self.share(products)

    def relu_and_value(self, x: Share) -> tuple[Share, Share]:
        """Both in the four rounds of one comparison. Needs |x| < 2^48."""
        pair = compare.rectified(self._session, x.share, bits=FRACTIONAL_BITS, exact=self._exact)
        return self.share(pair[0]), self.share(pair[1])

    def negative(self, x: Share, *, bits: int = 63) -> Share:
        """Three rounds for 16 bits, else four. 63 bits are exact for every ring element."""
        return self.share(compare.negative(self._session, x.share, bits=bits))


# One instance for all queries, because a kind keeps what it computes from its shapes.
@lru_cache(_KINDS)
def _kind(kind: Map, name: str, weight: Shape, given: Shape, window: Window) -> FixedProduct:
    return FixedProduct(kind, name, weight, given, window)
