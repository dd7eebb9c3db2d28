"""The dealer keeps the masks of weights within its limit, and always returns the right one."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from parties.mpc import products
from parties.mpc.dealing import Dealer, SessionId, new_seed
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.weight_masks import Seeds, WeightMasks
from privedge.errors import LimitExceeded

WORDS = 24
BYTES = 8 * WORDS


def product(name: str) -> FixedProduct:
    return FixedProduct("dense", name, (2, 3, 4), (2, 5, 4))


ALL = slice(0, 2)
NAMES = ["0.weight", "2.weight", "4.weight"]


def pair() -> Seeds:
    return new_seed(), new_seed()


def expected(seeds: Seeds, name: str) -> torch.Tensor:
    return product(name).weight_mask(seeds[0], ALL) + product(name).weight_mask(seeds[1], ALL)


def test_a_mask_that_fits_is_expanded_once():
    masks, seeds = WeightMasks(BYTES), pair()
    first = masks.mask(seeds, product(NAMES[0]), ALL)
    assert masks.mask(seeds, product(NAMES[0]), ALL) is first
    assert torch.equal(first, expected(seeds, NAMES[0]))
    assert masks.size == BYTES


def test_masks_differ_between_weights_and_between_snapshots():
    masks, snapshots = WeightMasks(100 * BYTES), [pair(), pair()]
    for _ in range(2):
        for seeds in snapshots:
            for name in NAMES:
                assert torch.equal(masks.mask(seeds, product(name), ALL), expected(seeds, name))
    assert masks.size == 6 * BYTES


def test_the_limit_holds_and_the_snapshot_used_longest_ago_goes_first():
    masks, (old, used, new) = WeightMasks(2 * BYTES), (pair(), pair(), pair())
    gone, kept = (masks.mask(seeds, product(NAMES[0]), ALL) for seeds in (old, used))
    assert masks.mask(used, product(NAMES[0]), ALL) is kept
    masks.mask(new, product(NAMES[0]), ALL)
    assert masks.size == 2 * BYTES
    assert masks.mask(used, product(NAMES[0]), ALL) is kept
    assert masks.mask(old, product(NAMES[0]), ALL) is not gone


def test_of_a_snapshot_too_large_the_first_masks_stay():
    masks, seeds = WeightMasks(2 * BYTES), pair()
    first = [masks.mask(seeds, product(name), ALL) for name in NAMES]
    again = [masks.mask(seeds, product(name), ALL) for name in NAMES]
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False]
    assert torch.equal(first[2], again[2])
    assert masks.size == 2 * BYTES


def test_without_room_nothing_is_kept():
    masks, seeds = WeightMasks(0), pair()
    assert torch.equal(masks.mask(seeds, product(NAMES[0]), ALL), expected(seeds, NAMES[0]))
    assert masks.size == 0


def test_threads_get_the_right_masks_within_the_limit():
    masks, snapshots = WeightMasks(4 * BYTES), [pair() for _ in range(3)]
    wanted = [(seeds, name) for _ in range(40) for seeds in snapshots for name in NAMES]
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(lambda each: masks.mask(each[0], product(each[1]), ALL), wanted))
    right = {(seeds, name): expected(seeds, name) for seeds in snapshots for name in NAMES}
    assert all(torch.equal(mask, right[key]) for key, mask in zip(wanted, given, strict=True))
    assert 0 < masks.size <= 4 * BYTES


def test_sessions_deal_the_same_corrections_with_kept_masks_as_without():
    run, seeds, weights = SessionId(os.urandom(16)), pair(), pair()
    masks = WeightMasks(100 * BYTES)
    sessions = [
        Dealer(run, seeds, weights, max_elements=1000, masks=kept) for kept in (None, masks, masks)
    ]
    first, *others = [dealer.correct(0, 0, product(NAMES[0])) for dealer in sessions]
    assert masks.size == BYTES
    assert all(torch.equal(first, other) for other in others)


def test_nothing_of_a_mask_or_a_seed_is_printed():
    masks, seeds = WeightMasks(BYTES), pair()
    word = masks.mask(seeds, product(NAMES[0]), ALL).reshape(-1)[0].item()
    said = repr(masks) + str(masks)
    assert str(word) not in said
    assert repr(seeds[0]) not in said


def test_runs_of_owners_have_masks_of_their_own(monkeypatch):
    monkeypatch.setattr(products, "RUN_WORDS", 12)
    masks, seeds, kind = WeightMasks(BYTES), pair(), product(NAMES[0])
    first, second = (masks.mask(seeds, kind, run) for run in products.runs(kind.weight))
    assert first.shape == second.shape == (1, 3, 4)
    assert not set(first.reshape(-1).tolist()) & set(second.reshape(-1).tolist())
    again = [masks.mask(seeds, kind, run) for run in products.runs(kind.weight)]
    assert again[0] is first and again[1] is second


def test_a_weight_may_be_larger_than_a_tuple_but_not_its_runs(monkeypatch):
    dealer = Dealer(SessionId(os.urandom(16)), pair(), pair(), max_elements=20)
    with pytest.raises(LimitExceeded):
        dealer.correct(0, 0, product(NAMES[0]))
    monkeypatch.setattr(products, "RUN_WORDS", 12)
    with pytest.raises(LimitExceeded):
        dealer.correct(0, 0, FixedProduct("dense", NAMES[0], (30, 1, 12), (1, 1, 12)))
    assert (
        dealer.correct(0, 0, FixedProduct("dense", NAMES[0], (20, 1, 12), (1, 1, 12))).numel() == 20
    )
