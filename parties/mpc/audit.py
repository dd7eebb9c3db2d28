"""Cut-and-choose: some bundles of a lot are opened, so that a dealer that deals wrongly is caught.

A correction is a function of both parties' streams, so a bundle whose keys both parties know can be
checked completely. An opened bundle is burnt, because its masks are no secret any more. Both
parties run the same steps (docs/protocol.md#audit):

    1.  coin        each commits to 32 fresh bytes, then both open; only once both hold the lot, so
                    the dealer cannot know it while it deals
    2.  choose      the coin orders the bundles: the first are opened, the others are kept in that
                    order, so the dealer cannot aim at a query
    3.  open        each sends its keys of the opened bundles' tuples, and recomputes the
                    corrections that it received
    4.  sacrifice   fixed products are not opened: C = A * B for a known B would tell W * B. Each
                    opened bundle's products are spent on a random combination of all kept ones
    5.  verdict     both say what they found

A lot with a wrong word is dropped as a whole, and the dealer is refused.
"""

import hashlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from parties.mpc.bundles import Bundle
from parties.mpc.dealing import SessionId, TupleShares, corrected
from parties.mpc.fixed_product import FixedProduct, MaskedWeights
from parties.mpc.prg import KEY_BYTES, KeyStream, derived_key
from parties.mpc.tuples import TupleKind, receiver
from privedge.errors import NotReady, TranscriptMismatch

T = TypeVar("T")
# Each yield is one exchange with the other party, which sends as many bytes at the same time.
Steps = Generator[bytes, bytes, T]

COIN_BYTES = 32
_PIECE = 1 << 20
# An error of 2^t in a product is missed by one check with probability 2^(t - 64), for t up to 63.
_MOST_CHECKS = 8
_RIGHT, _WRONG = b"\0", b"\1"


@dataclass(frozen=True)
class Wrong:
    """What was found: which tuple of which bundle, or which fixed product of the lot; in words."""

    what: str


@dataclass(frozen=True)
class Lot:
    """One party's shares of bundles that were drawn in one session with the dealer, one after the
    other. It holds masks, so it has no useful repr.

    size: how many bundles the lot is to have.
    """

    party: int
    run: SessionId
    seed: bytes = field(repr=False)
    plan: Sequence[TupleKind]
    bundles: Sequence[Bundle]
    masked: MaskedWeights
    size: int

    def key(self, bundle: int, place: int) -> bytes:
        """This party's key of one tuple."""
        return self.run.key(self.seed, self.plan[place], self._number(bundle, place))

    def received(self, bundle: int, place: int) -> torch.Tensor | None:
        """The dealer's correction of one tuple, flat int64, if it came to this party."""
        if receiver(self._number(bundle, place)) != self.party:
            return None
        _, shares = self.bundles[bundle].parts[place]
        if not isinstance(shares, TupleShares):
            return None
        return torch.cat([part.reshape(-1) for part in shares.derived])

    def product(self, bundle: int, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        """B_i and U_i of a fixed product."""
        _, shares = self.bundles[bundle].parts[place]
        if isinstance(shares, TupleShares):
            raise TranscriptMismatch("a fixed product was drawn to be used as one")
        return shares

    def _number(self, bundle: int, place: int) -> int:
        return bundle * len(self.plan) + place


def opened_of(kept: int, share: float) -> int:
    """How many bundles to open, beside `kept` ones, so that `share` of all are; 0 for none."""
    if not share:
        return 0
    more = 0
    while more < share * (kept + more):
        more += 1
    return more


def audited(
    lot: Lot, opened: int, pause: Callable[[], object] = lambda: None
) -> "Steps[list[Bundle] | Wrong]":
    """Check the lot by opening `opened` of its bundles; the kept ones in their new order, or what
    is wrong. Bundles must hold all that they were drawn with. `pause` is called before each piece
    of work; it may wait.

    Raises NotReady for a lot that is not complete, and TranscriptMismatch if the other party does
    not follow.
    """
    # 1. The coin, never before the lot is complete: the dealer would know what it must not spoil.
    if len(lot.bundles) != lot.size or not 0 < opened < lot.size:
        raise NotReady("the lot is not complete")
    coin = yield from _tossed(lot)
    # 2. A random order of all.
    order = _order(coin, lot.size)
    chosen, kept = order[:opened], order[opened:]
    # 3. and 4. What was found is told only at the end, so that both parties do the same steps.
    in_opened = yield from _opened(lot, chosen, pause)
    in_products = yield from _sacrificed(lot, coin, (chosen, kept), pause)
    wrong = in_opened or in_products
    # 5. Either's finding counts.
    theirs = yield _WRONG if wrong else _RIGHT
    if wrong or theirs != _RIGHT:
        return wrong or Wrong("the other party found a wrong word")
    return [lot.bundles[at] for at in kept]


def _tossed(lot: Lot) -> Steps[bytes]:
    mine = os.urandom(COIN_BYTES)
    commitments = {lot.party: _commitment(lot.party, mine)}
    commitments[1 - lot.party] = yield commitments[lot.party]
    theirs = yield mine
    if _commitment(1 - lot.party, theirs) != commitments[1 - lot.party]:
        raise TranscriptMismatch("the other party opened another coin than it committed to")
    first, second = (mine, theirs) if lot.party == 0 else (theirs, mine)
    return first + second


def _commitment(party: int, coin: bytes) -> bytes:
    # Neither can hand the other's commitment back as its own.
    return hashlib.sha256(b"privedge coin v1\0" + bytes([party]) + coin).digest()


def _drawn(coin: bytes, what: str) -> KeyStream:
    info = b"privedge audit v1\0" + what.encode()
    return KeyStream(derived_key(coin, salt=None, info=info))


def _order(coin: bytes, size: int) -> list[int]:
    """A random permutation: by a random word each, ties being as rare as a guessed key."""
    words = _drawn(coin, "order").take((size,)).tolist()
    return sorted(range(size), key=words.__getitem__)


def _opened(lot: Lot, chosen: Sequence[int], pause: Callable[[], object]) -> "Steps[Wrong | None]":
    """Step 3, for all tuples but fixed products."""
    places = [
        (bundle, place)
        for bundle in chosen
        for place, kind in enumerate(lot.plan)
        if not isinstance(kind, FixedProduct)
    ]
    mine = [lot.key(*at) for at in places]
    both = yield from _swapped(b"".join(mine))
    wrong = None
    for number, (at, key) in enumerate(zip(places, mine, strict=True)):
        theirs = both[number * KEY_BYTES : (number + 1) * KEY_BYTES]
        words = lot.received(*at)
        if words is None:
            continue
        pause()
        kind = lot.plan[at[1]]
        if not torch.equal(words, corrected(kind, KeyStream(key), KeyStream(theirs))):
            wrong = wrong or Wrong(f"tuple {at[1]} of bundle {at[0]} ({kind.purpose})")
    return wrong


def _sacrificed(
    lot: Lot, coin: bytes, order: tuple[list[int], list[int]], pause: Callable[[], object]
) -> "Steps[Wrong | None]":
    """Step 4: with public random rho_l and the products (B', C') of a burnt bundle,

        T = sum rho_l B_l + B'                       opened; B' is used here only, so T is uniform
        sum rho_l U_l + U' = W * T                   for every share, of all l at once

    so v_i = sum rho_l U_l,i + U'_i - E * T_i - A_i * T adds up to 0 if every C is right. The
    parties compare digests of v_0 and of -v_1.
    """
    chosen, kept = order
    places = [at for at, kind in enumerate(lot.plan) if isinstance(kind, FixedProduct)]
    wrong = None
    for check, burnt in enumerate(chosen[:_MOST_CHECKS]):
        for place in places:
            pause()
            rho = _drawn(coin, f"rho {check} {place}").take((len(kept),))
            if check == 0:
                rho |= 1  # odd: an error in one product alone cannot vanish
            mask, ahead = _combined(lot, place, burnt, rho, kept)
            theirs = yield from _swapped(mask.numpy().tobytes())
            total = mask + torch.frombuffer(bytearray(theirs), dtype=torch.int64).view(mask.shape)
            digest = _left(lot, place, ahead, mask, total)
            if (yield digest) != digest:
                wrong = wrong or Wrong(f"fixed product {place} ({lot.plan[place].purpose})")
    return wrong


def _combined(
    lot: Lot, place: int, burnt: int, rho: torch.Tensor, kept: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """This party's shares of T and of W * T."""
    mask, ahead = (part.clone() for part in lot.product(burnt, place))
    for factor, bundle in zip(rho, kept, strict=True):
        one, product = lot.product(bundle, place)
        mask += factor * one
        ahead += factor * product
    return mask, ahead


def _left(
    lot: Lot, place: int, ahead: torch.Tensor, mask: torch.Tensor, total: torch.Tensor
) -> bytes:
    """A digest of v_0, or of -v_1: the same at both parties if v_0 + v_1 = 0."""
    kind = lot.plan[place]
    if not isinstance(kind, FixedProduct):
        raise TranscriptMismatch("no fixed product was drawn here")
    rest = ahead - kind.apply(mask, lot.masked.opened[kind.name])
    rest -= kind.product(total, lambda run: kind.weight_mask(lot.masked.seed, run))
    mine = rest if lot.party == 0 else -rest
    return hashlib.sha256(mine.contiguous().numpy().tobytes()).digest()


def _swapped(mine: bytes) -> Steps[bytes]:
    """Exchange as many bytes, in pieces that fit into a message."""
    theirs = bytearray()
    for start in range(0, max(1, len(mine)), _PIECE):
        theirs += yield mine[start : start + _PIECE]
    if len(theirs) != len(mine):
        raise TranscriptMismatch(f"audit: sent {len(mine)} bytes, received {len(theirs)}")
    return bytes(theirs)
