"""Tuples of every kind that two parties make are what the kind's own `derive` says."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.fused.choice import MAX_BITS, Choice
from parties.mpc.fused.pairs import Pair
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import NIBBLES, Comparison, ExactTruncation, FusedRelu
from parties.mpc.tuples import And, Product, Square, Truncation, TupleKind
from parties.mpc.twoparty import keys
from parties.mpc.twoparty.making import chunks
from parties.mpc.widening import Widen
from privedge.errors import ShareError, TranscriptMismatch
from privedge.sharing.ring import Words
from tests.chance import fair
from tests.unit.mpc.twoparty.together import Pairing, assert_right

_PAIRING = Pairing()

_SHAPES = st.lists(st.integers(1, 12), min_size=1, max_size=3).map(tuple)


@st.composite
def _products(draw: st.DrawFn) -> Product:
    """A factor of the result's shape, on either side, and one that has 1 in place of some axes."""
    whole = draw(_SHAPES)
    fewer = tuple(draw(st.sampled_from([1, size])) for size in whole)[draw(st.integers(0, 2)) :]
    left, right = draw(st.permutations([whole, fewer]))
    return Product("mul", left, right)


_KINDS: st.SearchStrategy[TupleKind] = st.one_of(
    st.builds(Comparison, _SHAPES, st.sampled_from(sorted(NIBBLES))),
    st.builds(Pair, _SHAPES, st.sampled_from(sorted(NIBBLES)), st.integers(0, 3)),
    st.builds(FusedRelu, _SHAPES, st.integers(1, 47)),
    st.builds(FusedRelu, _SHAPES, st.just(16), st.just(True)),
    st.builds(ExactTruncation, _SHAPES, st.just(16)),
    st.builds(Truncation, _SHAPES, st.integers(1, 63)),
    st.builds(TruncatedSquare, _SHAPES, st.integers(1, 61)),
    st.builds(Square, _SHAPES),
    _products(),
    st.builds(Widen, _SHAPES, st.integers(4, 62)),
    st.builds(Choice, st.integers(1, 70), st.integers(0, 3), st.integers(1, MAX_BITS)),
)
_LARGE = [
    FusedRelu((4100,), 16),
    Comparison((1000,), 63),
    Comparison((1000,), 39),
    Pair((1000,), 39, 2),
    TruncatedSquare((1000,), 16),
    Truncation((1000,), 16),
    Product("mul", (10, 820), (10, 1)),
    Choice(9, 2, MAX_BITS),
    ExactTruncation((1000,), 16),
    FusedRelu((1000,), 16, exact=True),
]


@settings(max_examples=60)
@given(_KINDS, st.integers(0, 1))
def test_tuples_open_to_what_their_kind_derives(kind: TupleKind, first: int) -> None:
    (zero,), (one,) = _PAIRING.tuples([kind], first)
    assert_right(kind, zero, one)


@pytest.mark.parametrize("kind", _LARGE, ids=lambda kind: kind.purpose)
def test_thousands_of_elements(kind: TupleKind) -> None:
    (zero,), (one,) = _PAIRING.tuples([kind])
    assert_right(kind, zero, one)


@pytest.mark.slow
def test_a_million_relus() -> None:
    kind = FusedRelu((1 << 18,), 16)
    for _ in range(4):
        (zero,), (one,) = _PAIRING.tuples([kind])
        assert_right(kind, zero, one)


@settings(max_examples=10)
@given(st.lists(st.integers(1, 200), min_size=2, max_size=5))
def test_tuples_of_one_kind_are_made_together(sizes: list[int]) -> None:
    """Also where a chunk ends within a tuple: 64 words."""
    kinds = [Truncation((size, 40), 16) for size in sizes]
    for kind, zero, one in zip(kinds, *_PAIRING.tuples(kinds), strict=True):
        assert_right(kind, zero, one)


def test_products_of_one_kind_are_made_together() -> None:
    """Whatever the shapes of their factors, and where a chunk ends within a tuple."""
    shapes = [((3, 1), (3, 1500)), ((2, 5), (2, 5)), ((4, 900), (900,)), ((1,), (1,))]
    kinds = [Product("mul", *factors) for factors in shapes]
    for kind, zero, one in zip(kinds, *_PAIRING.tuples(kinds), strict=True):
        assert_right(kind, zero, one)


def test_a_share_alone_is_no_more_than_random() -> None:
    """How many bits of each part are 1, of what one party has of 4,096 elements."""
    kind = FusedRelu((4096,), 16)
    for (shares,) in _PAIRING.tuples([kind]):
        rho, s, _, rho_s, _ = shares.derived[1]
        for row in [shares.free[0], *shares.free[1], *shares.derived[0], rho, s, rho_s]:
            bits = np.unpackbits(row.contiguous().numpy().view(np.uint8))
            assert fair(bits)


def test_no_transfer_is_hashed_twice_under_one_tweak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pad that came twice would be a mask that is used twice."""
    seen: Counter[tuple[bytes, int, int]] = Counter()
    plain = keys._Rows._tweaks

    def recorded(self: keys._Rows, row: int, blocks: int) -> list[Words]:
        tweaks = plain(self, row, blocks)
        for tweak in tweaks:
            seen.update((self._pairing, int(a), int(b)) for a, b in tweak)
        return tweaks

    monkeypatch.setattr(keys._Rows, "_tweaks", recorded)
    pairing = Pairing()
    kinds = [FusedRelu((70,), 16, exact=True), TruncatedSquare((64,), 16), Choice(9, 3, 4)]
    for kind in [*kinds, Product("mul", (8, 9), (8, 1))]:
        pairing.tuples([kind])
    # Both ends of one direction have the same tweaks, once each.
    assert set(seen.values()) == {2}


@pytest.mark.parametrize("step", ["extension", "2", "3", "4"])
@pytest.mark.parametrize("change", [b"x", b""])
def test_a_message_of_the_wrong_length_ends_the_making(step: str, change: bytes) -> None:
    def spoilt(at: str, message: bytes) -> bytes:
        if at != step:
            return message
        return message + change if change else message[:-1]

    (chunk,) = chunks([Choice(9, 2, 4)])
    with pytest.raises(TranscriptMismatch):
        Pairing().make(chunk, spoilt)


def test_kinds_that_two_parties_cannot_make_are_named() -> None:
    others = [
        And((3,)),
        Product("mul", (3, 1), (1, 3)),
        Product("matmul", (2, 3), (3, 2)),
        Product("conv2d", (1, 1, 3, 3), (1, 1, 2, 2)),
    ]
    for kind in others:
        with pytest.raises(ShareError, match="two parties cannot make"):
            list(chunks([kind]))


def test_only_tuples_of_one_kind_are_made_together() -> None:
    with pytest.raises(ShareError, match="different kinds"):
        list(chunks([Truncation((3,), 16), Truncation((3,), 15)]))


def test_the_work_of_many_elements_is_shared() -> None:
    """Roles change from chunk to chunk, so each party sends about half of all bytes."""
    pairing = Pairing()
    list(map(pairing.make, chunks([FusedRelu((16384,), 16)])))
    zero, one = pairing.bytes_sent
    assert abs(zero - one) < 0.01 * (zero + one)
    # docs/adr/0046: at most 1,200 bytes for each, both ways.
    assert zero + one < 1200 * 16384


def test_shares_are_tensors_of_the_ring() -> None:
    (zero,), _ = _PAIRING.tuples([Square((2, 3))])
    assert all(part.dtype == torch.int64 for part in (*zero.free, *zero.derived))
