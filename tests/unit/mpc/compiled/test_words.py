"""What a query and the dealer do to words: kernels and torch give the same bits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.fused import compare, squares, tree
from parties.mpc.fused.packing import words_for
from parties.mpc.fused.pairs import Pair
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import NIBBLES, Comparison, ExactTruncation, FusedRelu
from parties.mpc.tuples import InPlace, combined
from tests.unit.mpc.ways import WAYS, computing

EDGES = np.array([0, 1, -1, 2**16, 2**48, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1])
# One word of bits, less, more; a block of words (trees.py) and more; and the same for elements.
COUNTS = st.sampled_from([1, 2, 63, 64, 65, 200, 4095, 4096, 4097, 9000, 64 * 513])
SEEDS = st.integers(0, 2**32)

KINDS: list[Callable[[int], Any]] = [
    *(lambda n, bits=bits: Comparison((n,), bits) for bits in NIBBLES),
    lambda n: Pair((n,), 39, 0),
    lambda n: Pair((n,), 63, 3),
    lambda n: FusedRelu((n,), 16),
    lambda n: FusedRelu((n,), 1),
    lambda n: FusedRelu((n,), 47),
    lambda n: FusedRelu((n,), 16, exact=True),
    lambda n: ExactTruncation((n,), 16),
    lambda n: TruncatedSquare((n,), 1),
    lambda n: TruncatedSquare((n,), 61),
]


@dataclass
class Party:
    party: int


def words(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Uniform words, one in four replaced by an extreme one."""
    drawn = rng.integers(-(2**63), 2**63, size=shape, dtype=np.int64)
    return torch.from_numpy(np.where(rng.integers(4, size=shape), drawn, rng.choice(EDGES, shape)))


def same(compute: Callable[[], Any]) -> None:
    """`compute` makes its arguments anew at each call, because some are changed."""
    found = []
    for way in WAYS:
        with computing(way):
            found.append(compute())
    assert all(map(torch.equal, *found))


@settings(max_examples=30, deadline=None)
@given(SEEDS, COUNTS, st.sampled_from([0, 1]), st.sampled_from(sorted(NIBBLES)))
def test_the_whole_tree(seed, count, party, bits):
    kind = Comparison((count,), bits)
    one = -1 if party == 0 else 0

    def every_step() -> list[torch.Tensor]:
        rng, width = np.random.default_rng(seed), words_for(count)
        masks = [words(rng, rows, width) for rows in kind.mask_sizes]
        tables, *products = (words(rng, rows, width) for rows in kind.product_sizes)
        theirs = words(rng, count)
        first, used, public = tree.looked_up(
            (theirs, words(rng, count)), bits, NIBBLES[bits], (tables, masks[1]), one=one
        )
        seen = [theirs, first.clone(), used, public]
        for level, mask, product, after in zip(
            kind.levels, masks[1:], products, [*masks[2:], masks[0]], strict=True
        ):
            half = words(rng, *used.shape)
            first, used = level.joined(first, (half, used), (mask, product), after, one=one)
            # What comes after the last level's result means nothing.
            seen += [half, used] if level.last else [half, used, first.clone()]
        return seen

    same(every_step)


@settings(max_examples=30, deadline=None)
@given(
    SEEDS, COUNTS, st.sampled_from([0, 1]), st.sampled_from([1, 16, 47]), st.sampled_from([5, 7])
)
def test_the_selection_of_a_relu(seed, count, party, bits, numbers):
    def selected() -> tuple[torch.Tensor, torch.Tensor]:
        rng, width = np.random.default_rng(seed), words_for(count)
        packed = words(rng, width), words(rng, width)
        of = words(rng, numbers, count)
        return compare._selected(Party(party), words(rng, count), packed, of, bits)

    same(selected)


@settings(max_examples=30, deadline=None)
@given(SEEDS, COUNTS, st.sampled_from([0, 1]))
def test_bits_without_their_masks(seed, count, party):
    def unmasked() -> list[torch.Tensor]:
        rng = np.random.default_rng(seed)
        return [compare.unmasked(Party(party), words(rng, words_for(count)), words(rng, count))]

    same(unmasked)


@settings(max_examples=30, deadline=None)
@given(SEEDS, COUNTS, st.sampled_from([0, 1]), st.sampled_from([1, 16, 61]))
def test_truncated_squares(seed, count, party, bits):
    def squared() -> list[torch.Tensor]:
        rng = np.random.default_rng(seed)
        halves = words(rng, count), words(rng, count)
        return [squares._squared(Party(party), halves, words(rng, 4, count), bits)]

    same(squared)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", KINDS, ids=lambda make: make(1).purpose.replace(" (1,)", ""))
@settings(max_examples=10, deadline=None)
@given(seed=SEEDS, count=COUNTS)
def test_a_correction_is_what_the_other_share_leaves(way, make, seed, count):
    kind: InPlace = make(count)
    rng = np.random.default_rng(seed)
    masks = [words(rng, *shape) for shape in kind.free]
    theirs = [words(rng, *shape) for shape in kind.derived]
    mine = [share.clone() for share in theirs]
    with computing(way):
        kind.correct(masks, mine)
    opened = map(combined, kind.derived_sharing, mine, theirs)
    assert all(map(torch.equal, opened, kind.derive(masks)))
