"""An opened bundle with a wrong word is always found; a lot's products are checked without opening
one; and what is kept is as good as if nothing had been opened.
"""

import os
from collections.abc import Callable
from math import comb

import numpy as np
import pytest
import torch

from parties.mpc.audit import Lot, Wrong, audited, opened_of
from parties.mpc.bundles import Bundle
from parties.mpc.dealing import Dealer, SessionId, Tuples
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.predict import Rule, predict
from parties.mpc.tuples import TupleKind
from privedge.errors import NotReady, TranscriptMismatch
from privedge_lab.reference import run as reference
from privedge_lab.reference.recording import NearLink
from tests.unit.mpc.models import SPECS, batch, cohort

(SPEC,) = (spec for spec in SPECS if spec.name == "subspace")
OWNERS, TRIES = 3, 100
PARAMETERS = cohort(SPEC, OWNERS)
IMAGE = batch(SPEC, 1)


def program(engine, x, *stacked):
    return predict(engine, SPEC, dict(zip(PARAMETERS, stacked, strict=True)), x, Rule(margin=0.9))


# Shares stay, so that E, which was opened once, fits them in every run.
SHARES = [reference._split(words) for words in PARAMETERS.values()]


@pytest.fixture(scope="module")
def masked() -> reference.Masked:
    """Masked weights that are opened, and the constants of the first run."""
    made = reference.fresh_masks()
    reference.run(program, IMAGE, *SHARES, masked=made)
    return made


@pytest.fixture(scope="module")
def plan(masked) -> list[TupleKind]:
    return reference.run(program, IMAGE, *SHARES, masked=masked).sessions[0].tuples.used


Spoil = Callable[[int, torch.Tensor], torch.Tensor]


class Forging(Dealer):
    """Spoils a correction of one party, by its counter."""

    def __init__(self, *arguments, spoil: Spoil = lambda _, words: words, **named) -> None:
        super().__init__(*arguments, **named)
        self._spoil = spoil

    def correct(self, party: int, counter: int, kind: TupleKind) -> torch.Tensor:
        return self._spoil(counter, super().correct(party, counter, kind))


def lots(plan, masked, size: int, spoil: Spoil = lambda _, words: words) -> tuple[Lot, Lot]:
    """Both parties' shares of a lot, from a dealer that may spoil some."""
    run, seeds = SessionId(os.urandom(16)), (os.urandom(32), os.urandom(32))
    weight_seeds = masked[0].seed, masked[1].seed
    made = []
    for party in (0, 1):
        dealer = Forging(run, seeds, weight_seeds, max_elements=1 << 24, spoil=spoil)
        tuples = Tuples(party, run, seeds[party], NearLink(dealer, party), plan * size)
        bundles = [
            Bundle.drawn(tuples, plan, masked[party].opened, lambda: None) for _ in range(size)
        ]
        made.append(Lot(party, run, seeds[party], plan, bundles, masked[party], size))
    return made[0], made[1]


def together(pair: tuple[Lot, Lot], opened: int) -> list:
    """What the audit ends with at both parties, in lockstep."""
    sides = [audited(lot, opened) for lot in pair]
    sent, ended = [next(side) for side in sides], [None, None]
    while ended == [None, None]:
        arrived, sent = sent[::-1], []
        for at, side in enumerate(sides):
            try:
                sent.append(side.send(arrived[at]))
            except StopIteration as end:
                ended[at] = end.value
    assert None not in ended
    return ended


def one_word(plan, bundle: int, place: int, bit: int = 0, word: int = 0) -> Spoil:
    """Change one bit of one word of one tuple of one bundle."""

    def spoil(counter: int, words: torch.Tensor) -> torch.Tensor:
        if counter == bundle * len(plan) + place:
            words[word % words.numel()] ^= torch.tensor(1 << bit if bit < 63 else -(1 << 63))
        return words

    return spoil


def test_a_right_lot_is_kept_in_one_order_at_both_and_answers_as_before(plan, masked):
    pair = lots(plan, masked, 8)
    kept = together(pair, 5)
    assert [len(each) for each in kept] == [3, 3]
    places = [
        [next(i for i, b in enumerate(lot.bundles) if b is bundle) for bundle in each]
        for lot, each in zip(pair, kept, strict=True)
    ]
    assert places[0] == places[1]
    without = reference.run(program, IMAGE, *SHARES, masked=masked)
    for first, second in zip(*kept, strict=True):
        outcome = reference.run(program, IMAGE, *SHARES, masked=masked, bundles=(first, second))
        assert (outcome.value == without.value).all()
        assert outcome.sessions[0].rounds == without.sessions[0].rounds
        assert outcome.sessions[0].bytes_sent == without.sessions[0].bytes_sent


def test_one_wrong_word_of_an_opened_bundle_is_found_every_time(plan, masked):
    """Of every tuple in turn, at any word and bit; each party finds its own."""
    places = [at for at, kind in enumerate(plan) if not isinstance(kind, FixedProduct)]
    random, found = np.random.default_rng(0), 0
    for number in range(TRIES):
        place, bundle = places[number % len(places)], number % 2
        spoil = one_word(
            plan, bundle, place, int(random.integers(64)), int(random.integers(1 << 20))
        )
        pair = lots(plan, masked, 3, spoil)
        # All but one are opened: with both spoilt bundles 0 and 1 tried, some draws keep it.
        ended = together(pair, 2)
        wrong = [isinstance(each, Wrong) for each in ended]
        assert wrong[0] == wrong[1]
        kept = not wrong[0] and any(each is pair[0].bundles[bundle] for each in ended[0])
        assert wrong[0] or kept
        found += wrong[0]
        if wrong[0]:
            assert {each.what for each in ended} == {
                f"tuple {place} of bundle {bundle} ({plan[place].purpose})",
                "the other party found a wrong word",
            }
    # Two of three are opened.
    assert abs(found - TRIES * 2 / 3) < 5 * (TRIES * 2 / 9) ** 0.5


@pytest.mark.parametrize("bit", [0, 47, 63])
def test_a_wrong_product_is_found_in_whichever_bundle_it_is(plan, masked, bit):
    """In a kept bundle as well as in a burnt one: products are combined, not opened."""
    (place, *_) = [at for at, kind in enumerate(plan) if isinstance(kind, FixedProduct)]
    for bundle in range(6):
        ended = together(lots(plan, masked, 6, one_word(plan, bundle, place, bit)), 4)
        assert all(isinstance(each, Wrong) for each in ended), bundle


def test_products_of_two_bundles_that_cancel_are_found(plan, masked):
    (place, *_) = [at for at, kind in enumerate(plan) if isinstance(kind, FixedProduct)]
    first, second = (one_word(plan, bundle, place, 40) for bundle in (0, 1))

    def both(counter: int, words: torch.Tensor) -> torch.Tensor:
        return second(counter, first(counter, words))

    for _ in range(20):
        assert all(isinstance(each, Wrong) for each in together(lots(plan, masked, 6, both), 3))


def test_w35_a_lot_that_is_not_complete_gets_no_coin(plan, masked):
    """Before the last bundle is there, the dealer could still deal by what the coin says."""
    for lot in lots(plan, masked, 3):
        short = Lot(lot.party, lot.run, lot.seed, plan, lot.bundles[:2], lot.masked, 3)
        with pytest.raises(NotReady, match="not complete"):
            next(audited(short, 2))


@pytest.mark.parametrize("opened", [0, 3])
def test_none_or_all_of_a_lot_cannot_be_opened(plan, masked, opened):
    with pytest.raises(NotReady):
        next(audited(lots(plan, masked, 3)[0], opened))


def test_a_coin_other_than_the_one_committed_to_is_refused(plan, masked):
    lot, _ = lots(plan, masked, 3)
    side = audited(lot, 2)
    mine = next(side)
    side.send(bytes(32))
    with pytest.raises(TranscriptMismatch, match="another coin"):
        side.send(bytes(32))
    # Nor is a party's own commitment, sent back to it, one of the other party.
    again = audited(lot, 2)
    mine = next(again)
    coin = again.send(mine)
    with pytest.raises(TranscriptMismatch, match="another coin"):
        again.send(coin)


@pytest.mark.parametrize("way", ["another key", "says so"])
def test_what_is_not_told_is_a_party_that_has_an_honest_dealer_refused(plan, masked, way):
    """Operators are told that it may have been one of them."""
    lying, other = (audited(lot, 2) for lot in lots(plan, masked, 3))
    mine, theirs = next(lying), next(other)
    for _ in ("commitments", "coins"):
        mine, theirs = lying.send(theirs), other.send(mine)
    keys = os.urandom(len(mine)) if way == "another key" else mine
    mine, theirs = lying.send(theirs), other.send(keys)
    with pytest.raises(StopIteration) as ended:
        other.send(b"\1" + mine[1:] if way == "says so" else mine)
    assert isinstance(ended.value.value, Wrong)


def test_no_key_of_a_kept_bundle_or_of_a_product_is_sent(plan, masked):
    pair = lots(plan, masked, 4)
    sides, sent = [audited(lot, 2) for lot in pair], [[], []]
    arrived = [next(side) for side in sides]
    ended = None
    while ended is None:
        for at, words in enumerate(arrived):
            sent[at].append(words)
        before, arrived = arrived[::-1], []
        for at, side in enumerate(sides):
            try:
                arrived.append(side.send(before[at]))
            except StopIteration as end:
                ended = end.value
    everything = b"".join(map(b"".join, sent))
    secret = [
        lot.key(bundle, place)
        for lot in pair
        for bundle in range(4)
        for place, kind in enumerate(plan)
        if isinstance(kind, FixedProduct)
        or any(kept is each for kept in ended for each in [pair[1].bundles[bundle]])
    ]
    assert secret and not any(key in everything for key in secret)
    assert not any(lot.seed in everything for lot in pair)


@pytest.mark.parametrize(
    ("kept", "share", "opened"), [(1, 0.6, 2), (3, 0.6, 5), (8, 0.6, 12), (9, 0.1, 1), (4, 0, 0)]
)
def test_at_least_the_share_of_all_is_opened(kept, share, opened):
    assert opened_of(kept, share) == opened
    assert opened >= share * (kept + opened)


def missed(lots_of: list[tuple[int, int]], forged: int) -> float:
    """The probability that none of the forged bundles is opened, wherever they are."""
    total, opened = (sum(each) for each in zip(*lots_of, strict=True))
    return comb(total - opened, forged) / comb(total, forged)


def test_a_dealer_that_forges_one_in_ten_is_caught_within_50_bundles():
    """By the default, with lots of any number of kept bundles: simulated and computed."""
    from parties.config.sections import PoolSection

    share = PoolSection().opened
    random = np.random.default_rng(1)
    for kept in range(1, 9):
        lot = kept + opened_of(kept, share)
        opened_in_all, caught = 0, 0
        for _ in range(4000):
            forged = set(random.choice(50, 5, replace=False).tolist())
            seen: set[int] = set()
            for start in range(0, 50, lot):
                size = min(lot, 50 - start)
                # The last lot of the 50 may be cut off: what is opened of it by then counts.
                order = start + random.permutation(lot)
                opened = [at for at in order[: lot - kept] if at < start + size]
                opened_in_all += len(opened)
                seen.update(map(int, opened))
            caught += bool(seen & forged)
        assert caught >= 0.985 * 4000, kept
    assert 1 - missed([(50, round(50 * share))], 5) >= 0.99
