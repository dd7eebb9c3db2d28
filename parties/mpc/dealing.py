"""Both ends of dealing: what the dealer computes, and how a party gets its shares of a tuple.

The dealer holds two seeds and sees shapes and counters; a party holds its own seed and sees the
corrections meant for it. Neither ever handles a share of a model or of a query here. Notation and
proof: docs/protocol.md#correlated-randomness.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from parties.mpc.convolution_product import ConvolutionProduct
from parties.mpc.fixed_product import FixedProduct, FixedWeight
from parties.mpc.prg import SEED_BYTES, KeyStream, MaskStream, mask_key
from parties.mpc.tuples import (
    InPlace,
    TupleKind,
    check_size,
    combine_into,
    leave,
    receiver,
)
from parties.mpc.weight_masks import WeightMasks
from privedge.errors import AlreadyExists, NotAllowed, ShareError, TranscriptMismatch

# A fixed weight may be so many times larger: it is expanded in runs, which needs time, not memory.
_LARGER_WEIGHT = 16


@dataclass(frozen=True)
class TupleShares:
    """One party's shares of a tuple (int64 tensors, in the order its kind names them)."""

    free: list[torch.Tensor] = field(repr=False)
    derived: list[torch.Tensor] = field(repr=False)


# One party's part of a fixed product, int64: its share B_i of the input's mask, and U_i
# (docs/protocol.md#fixed-products).
Ahead = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class SessionId:
    """One run of one batch: 16 fresh random bytes. A retry is a session of its own."""

    session: bytes

    def stream(self, seed: bytes, kind: TupleKind, counter: int) -> MaskStream:
        """The masks of tuple number `counter` of the party whose seed this is."""
        return MaskStream(seed, purpose=kind.purpose, session=self.session, counter=counter)

    def key(self, seed: bytes, kind: TupleKind, counter: int) -> bytes:
        """The key of that stream alone: it tells nothing of other tuples."""
        return mask_key(seed, purpose=kind.purpose, session=self.session, counter=counter)


class Dealer:
    """The dealer's side of one session: stateless but for one counter per party."""

    def __init__(
        self,
        run: SessionId,
        seeds: tuple[bytes, bytes],
        weight_seeds: tuple[bytes, bytes] | None = None,
        *,
        max_elements: int,
        masks: WeightMasks | None = None,
    ) -> None:
        """`seeds`: party 0's and party 1's of this session. `weight_seeds`: the seeds of fixed
        weights' masks, None if there are no such products. `masks`: what other sessions have
        expanded of those; without it this session keeps none.
        """
        self._run = run
        self._seeds = seeds
        self._weight_seeds = weight_seeds
        self._max_elements = max_elements
        self._masks = masks or WeightMasks(0)
        self._next = [0, 1]

    def correct(self, party: int, counter: int, kind: TupleKind) -> torch.Tensor:
        """The correction of tuple `counter` for `party`: its shares of the derived values, int64,
        flattened and one after the other.

        Raises AlreadyExists for a counter at or below one served before, NotAllowed for a counter
        whose correction belongs to the other party, LimitExceeded and ShareError for shapes.
        """
        if receiver(counter) != party:
            raise NotAllowed(f"tuple {counter} is corrected at the other party")
        if counter < self._next[party]:
            raise AlreadyExists(f"tuple {counter} was dealt before")
        self._check(kind)
        # Before anything is computed: a counter that failed is spent as well.
        self._next[party] = counter + 2
        mine, theirs = (
            self._run.stream(self._seeds[of], kind, counter) for of in (party, 1 - party)
        )
        return corrected(kind, mine, theirs, self._derived)

    def _check(self, kind: TupleKind) -> None:
        shapes = [*kind.free, *kind.derived]
        if isinstance(kind, FixedProduct):
            # What the dealer expands beside the tuple's own masks; the weight's in runs of owners.
            shapes += [kind.run, kind.unfolded]
            check_size([kind.masked], self._max_elements * _LARGER_WEIGHT)
        if isinstance(kind, ConvolutionProduct):
            shapes.append(kind.unfolded)
        check_size(shapes, self._max_elements)

    def _derived(self, kind: TupleKind, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        if not isinstance(kind, FixedProduct):
            return kind.derive(masks)
        seeds, kept = self._weight_seeds, self._masks
        if seeds is None:
            raise ShareError("fixed product: the session has no weight seeds")
        return [kind.product(masks[0], lambda run: kept.mask(seeds, kind, run))]


def corrected(
    kind: TupleKind,
    mine: KeyStream,
    theirs: KeyStream,
    derived: Callable[[TupleKind, list[torch.Tensor]], list[torch.Tensor]] = (
        lambda kind, masks: kind.derive(masks)
    ),
) -> torch.Tensor:
    """The receiver's shares of the derived values of a tuple, int64, flattened and one after the
    other, from the receiver's stream and the other party's. `derived` finds the values.
    """
    # 1. Expand both parties' streams, and add up the free masks. Both parties take their shares of
    #    them from the same streams, in the same order.
    masks = mine.take_each(kind.free)
    for sharing, mask, others in zip(
        kind.free_sharing, masks, theirs.take_each(kind.free), strict=True
    ):
        combine_into(sharing, mask, others)
    # 2. From the masks the derived values; of each the other party's share is the next part of its
    #    stream. What is left is the receiver's share. It is uniform to the receiver, which cannot
    #    expand the other one's stream.
    sizes = list(map(math.prod, kind.derived))
    correction = theirs.take((sum(sizes),))
    pairs = zip(correction.split_with_sizes(sizes), kind.derived, strict=True)
    parts = [part.view(shape) for part, shape in pairs]
    if isinstance(kind, InPlace):
        kind.correct(masks, parts)
        return correction
    for sharing, value, share in zip(
        kind.derived_sharing, derived(kind, masks), parts, strict=True
    ):
        leave(sharing, value, share)
    return correction


class DealerLink(Protocol):
    """A party's way to the dealer."""

    def request(self, tuples: list[tuple[int, TupleKind]], *, last: bool = False) -> None:
        """Ask for the corrections of these numbered tuples, in this order. Does not wait. After the
        `last` request there is no other.
        """

    def receive(self, counter: int) -> torch.Tensor:
        """The next correction (flat int64), which must be that of `counter`."""


class Tuples:
    """A party's side of one session: numbered tuples, each drawn once.

    `plan` is the list of kinds an earlier run of the same computation used. With it all corrections
    are asked for at once, so that the dealer works ahead of the computation; without it each tuple
    costs a round trip to the dealer. Either way the kinds used are in `used`.
    """

    def __init__(
        self,
        party: int,
        run: SessionId,
        seed: bytes,
        link: DealerLink,
        plan: list[TupleKind] | None = None,
    ) -> None:
        self._party = party
        self.run = run
        self._seed = seed
        self._link = link
        self._plan = plan
        self.used: list[TupleKind] = []
        if plan is not None:
            numbered = [(n, kind) for n, kind in enumerate(plan) if receiver(n) == party]
            link.request(numbered, last=True)

    def draw(self, kind: TupleKind) -> TupleShares:
        """This party's shares of the next tuple, which must be of `kind`.

        Raises TranscriptMismatch if it is another kind than the plan has here.
        """
        # Counted before it is used: a tuple that was drawn is gone, whatever comes of it.
        counter = len(self.used)
        self.used.append(kind)
        receives = receiver(counter) == self._party
        if self._plan is None:
            if receives:
                self._link.request([(counter, kind)])
        elif counter >= len(self._plan) or self._plan[counter] != kind:
            raise TranscriptMismatch(f"tuple {counter} is not the planned one")
        # The free masks come first in the stream, at both parties and at the dealer.
        stream = self.run.stream(self._seed, kind, counter)
        free = stream.take_each(kind.free)
        # Then come the derived values, of which the receiver has nothing in its own stream. In
        # memory they are apart: a fixed product's are not kept.
        if not receives:
            return TupleShares(free, stream.take_each(kind.derived))
        return TupleShares(free, self._corrected(kind, self._link.receive(counter)))

    def product(self, kind: FixedProduct, weight: FixedWeight) -> Ahead:
        """B_i and U_i of the next tuple; see `with_opened`."""
        return self.with_opened(kind, weight.opened())

    def with_opened(self, kind: FixedProduct, opened: torch.Tensor) -> Ahead:
        """B_i and U_i = E * B_i + C_i of the next tuple; `opened` is E, int64 of kind.masked
        (docs/protocol.md#fixed-products).
        """
        # Local: E is public, so its product with this party's share of B is a share of E * B. With
        # the share of C = A * B that is one of (E + A) * B = W * B.
        drawn = self.draw(kind)
        (mask,), (correction,) = drawn.free, drawn.derived
        return mask, kind.apply(mask, opened).add_(correction)

    @staticmethod
    def _corrected(kind: TupleKind, flat: torch.Tensor) -> list[torch.Tensor]:
        shapes = kind.derived
        sizes = list(map(math.prod, shapes))
        if flat.numel() != sum(sizes):
            raise TranscriptMismatch(f"a correction of {flat.numel()} words for {kind.purpose}")
        parts = flat.split_with_sizes(sizes)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def new_seed() -> bytes:
    """A fresh seed from the operating system; one per party and session."""
    return os.urandom(SEED_BYTES)
