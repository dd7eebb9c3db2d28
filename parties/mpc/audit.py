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
                    opened bundle's products are spent on a random combination of all kept ones,
                    whose masks travel with the keys
    5.  verdict     both say what they found, beside digests of what the combinations left

A lot with a wrong word is dropped as a whole, and the dealer is refused.
"""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
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
    # 3. and 4. Everything that is sent depends on the coin alone, so it goes in one exchange.
    keys = [lot.key(*at) for at in _opened_places(lot, chosen)]
    checks = list(_checks(lot, coin, chosen, kept, pause))
    mine = b"".join(keys) + b"".join(check.mask.numpy().tobytes() for check in checks)
    theirs = yield from _swapped(mine)
    shown = len(keys) * KEY_BYTES
    wrong = _in_opened(lot, chosen, theirs[:shown], pause)
    digests = _digests(lot, checks, theirs[shown:], pause)
    # 5. Either's finding counts. The digests are the same where all is right.
    said = yield from _swapped((_WRONG if wrong else _RIGHT) + b"".join(digests))
    if wrong is None and said[:1] != _RIGHT:
        wrong = Wrong("the other party found a wrong word")
    wrong = wrong or _in_products(lot, checks, digests, said[1:])
    return wrong or [lot.bundles[at] for at in kept]


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


def _opened_places(lot: Lot, chosen: Sequence[int]) -> list[tuple[int, int]]:
    """Which tuples step 3 opens: all of these bundles but fixed products."""
    return [
        (bundle, place)
        for bundle in chosen
        for place, kind in enumerate(lot.plan)
        if not isinstance(kind, FixedProduct)
    ]


def _in_opened(
    lot: Lot, chosen: Sequence[int], theirs: bytes, pause: Callable[[], object]
) -> Wrong | None:
    """Step 3: what this party finds with the other one's keys."""
    wrong = None
    for number, at in enumerate(_opened_places(lot, chosen)):
        words = lot.received(*at)
        if words is None:
            continue
        pause()
        key = theirs[number * KEY_BYTES : (number + 1) * KEY_BYTES]
        kind = lot.plan[at[1]]
        if not torch.equal(words, corrected(kind, KeyStream(lot.key(*at)), KeyStream(key))):
            wrong = wrong or Wrong(f"tuple {at[1]} of bundle {at[0]} ({kind.purpose})")
    return wrong


@dataclass(frozen=True)
class _Check:
    """One sacrifice of step 4, int64: this party's shares of T and of W * T."""

    place: int
    mask: torch.Tensor
    ahead: torch.Tensor


def _checks(
    lot: Lot,
    coin: bytes,
    chosen: Sequence[int],
    kept: Sequence[int],
    pause: Callable[[], object],
) -> Iterator[_Check]:
    """Step 4: with public random rho_l and the products (B', C') of a burnt bundle,

        T = sum rho_l B_l + B'                       opened; B' is used here only, so T is uniform
        sum rho_l U_l + U' = W * T                   for every share, of all l at once

    so v_i = sum rho_l U_l,i + U'_i - E * T_i - A_i * T adds up to 0 if every C is right. The
    parties compare digests of v_0 and of -v_1.
    """
    places = [at for at, kind in enumerate(lot.plan) if isinstance(kind, FixedProduct)]
    for number, burnt in enumerate(chosen[:_MOST_CHECKS]):
        for place in places:
            pause()
            rho = _drawn(coin, f"rho {number} {place}").take((len(kept),))
            if number == 0:
                rho |= 1  # odd: an error in one product alone cannot vanish
            yield _Check(place, *_combined(lot, place, burnt, rho, kept))


def _digests(
    lot: Lot, checks: Sequence[_Check], theirs: bytes, pause: Callable[[], object]
) -> list[bytes]:
    """Of each check what this party has left, given the other one's shares of the masks."""
    # torch makes no tensor of an empty buffer; without fixed products there is nothing to compare.
    if not checks:
        return []
    words = torch.frombuffer(bytearray(theirs), dtype=torch.int64)
    digests = []
    others = words.split([check.mask.numel() for check in checks])
    for check, other in zip(checks, others, strict=True):
        pause()
        digests.append(_left(lot, check, check.mask + other.view(check.mask.shape)))
    return digests


def _in_products(
    lot: Lot, checks: Sequence[_Check], mine: Sequence[bytes], theirs: bytes
) -> Wrong | None:
    size = hashlib.sha256().digest_size
    for number, (check, digest) in enumerate(zip(checks, mine, strict=True)):
        if theirs[number * size : (number + 1) * size] != digest:
            return Wrong(f"fixed product {check.place} ({lot.plan[check.place].purpose})")
    return None


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


def _left(lot: Lot, check: _Check, total: torch.Tensor) -> bytes:
    """A digest of v_0, or of -v_1: the same at both parties if v_0 + v_1 = 0. `total` is T."""
    kind = lot.plan[check.place]
    if not isinstance(kind, FixedProduct):
        raise TranscriptMismatch("no fixed product was drawn here")
    rest = check.ahead - kind.apply(check.mask, lot.masked.opened[kind.name])
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
