"""The dealer keeps weights' masks within its limit, and hands out the right one always."""

import os
from concurrent.futures import ThreadPoolExecutor

import torch

from privedge.mpc.dealing import Dealer, SessionId, new_seed
from privedge.mpc.fixed_product import FixedProduct
from privedge.mpc.weight_masks import Seeds, WeightMasks

WORDS = 24
BYTES = 8 * WORDS


def product(name: str) -> FixedProduct:
    return FixedProduct("dense", name, (2, 3, 4), (2, 5, 4))


NAMES = ["0.weight", "2.weight", "4.weight"]


def pair() -> Seeds:
    return new_seed(), new_seed()


def expected(seeds: Seeds, name: str) -> torch.Tensor:
    return product(name).weight_mask(seeds[0]) + product(name).weight_mask(seeds[1])


def test_a_mask_that_fits_is_expanded_once():
    masks, seeds = WeightMasks(BYTES), pair()
    first = masks.mask(seeds, product(NAMES[0]))
    assert masks.mask(seeds, product(NAMES[0])) is first
    assert torch.equal(first, expected(seeds, NAMES[0]))
    assert masks.size == BYTES


def test_masks_differ_between_weights_and_between_snapshots():
    masks, snapshots = WeightMasks(100 * BYTES), [pair(), pair()]
    for _ in range(2):
        for seeds in snapshots:
            for name in NAMES:
                assert torch.equal(masks.mask(seeds, product(name)), expected(seeds, name))
    assert masks.size == 6 * BYTES


def test_the_limit_holds_and_the_snapshot_used_longest_ago_goes_first():
    masks, (old, used, new) = WeightMasks(2 * BYTES), (pair(), pair(), pair())
    gone, kept = (masks.mask(seeds, product(NAMES[0])) for seeds in (old, used))
    assert masks.mask(used, product(NAMES[0])) is kept
    masks.mask(new, product(NAMES[0]))
    assert masks.size == 2 * BYTES
    assert masks.mask(used, product(NAMES[0])) is kept
    assert masks.mask(old, product(NAMES[0])) is not gone


def test_of_a_snapshot_too_large_the_first_masks_stay():
    masks, seeds = WeightMasks(2 * BYTES), pair()
    first = [masks.mask(seeds, product(name)) for name in NAMES]
    again = [masks.mask(seeds, product(name)) for name in NAMES]
    assert [a is b for a, b in zip(first, again, strict=True)] == [True, True, False]
    assert torch.equal(first[2], again[2])
    assert masks.size == 2 * BYTES


def test_without_room_nothing_is_kept():
    masks, seeds = WeightMasks(0), pair()
    assert torch.equal(masks.mask(seeds, product(NAMES[0])), expected(seeds, NAMES[0]))
    assert masks.size == 0


def test_threads_get_the_right_masks_within_the_limit():
    masks, snapshots = WeightMasks(4 * BYTES), [pair() for _ in range(3)]
    wanted = [(seeds, name) for _ in range(40) for seeds in snapshots for name in NAMES]
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(lambda each: masks.mask(each[0], product(each[1])), wanted))
    right = {(seeds, name): expected(seeds, name) for seeds in snapshots for name in NAMES}
    assert all(torch.equal(mask, right[key]) for key, mask in zip(wanted, given, strict=True))
    assert 0 < masks.size <= 4 * BYTES


def test_sessions_deal_the_same_corrections_with_kept_masks_as_without():
    run, seeds, weights = SessionId(os.urandom(16), 0), pair(), pair()
    masks = WeightMasks(100 * BYTES)
    sessions = [
        Dealer(run, seeds, weights, max_elements=1000, masks=kept) for kept in (None, masks, masks)
    ]
    first, *others = [dealer.correct(0, 0, product(NAMES[0])) for dealer in sessions]
    assert masks.size == BYTES
    assert all(torch.equal(first, other) for other in others)


def test_nothing_of_a_mask_or_a_seed_is_printed():
    masks, seeds = WeightMasks(BYTES), pair()
    word = masks.mask(seeds, product(NAMES[0])).reshape(-1)[0].item()
    said = repr(masks) + str(masks)
    assert str(word) not in said
    assert repr(seeds[0]) not in said
