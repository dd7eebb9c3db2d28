"""The dealer serves each counter once, to the right party, within bounds; masks never repeat."""

import os
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from parties import tuple_codec
from parties.mpc.convolution_product import ConvolutionProduct
from parties.mpc.dealing import Dealer, SessionId, Tuples, new_seed
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.pairs import Pair
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import Comparison, ExactTruncation, FusedRelu
from parties.mpc.prg import MaskStream
from parties.mpc.tuples import And, Bit, Product, Square, Truncation, TupleKind, combined
from parties.mpc.window import Window
from parties.wire import dealer_pb2 as pb
from privedge.errors import AlreadyExists, LimitExceeded, NotAllowed, ShareError
from tests.unit.mpc.pair import WireLink

KINDS: list[TupleKind] = [
    Product("mul", (3, 4), (3, 4)),
    Product("matmul", (1, 2, 5), (4, 5, 3)),
    Product("conv2d", (2, 6, 7, 7), (9, 2, 3, 3), stride=2, groups=3),
    ConvolutionProduct("conv1d", (2, 4, 9), (6, 2, 3), (2,), (1,), (2,), 2, (0,)),
    ConvolutionProduct("conv2d", (1, 4, 6, 7), (2, 4, 3, 2), (2, 1), (0, 2), (1, 3), 1, (0, 0)),
    ConvolutionProduct("conv_transpose1d", (2, 4, 5), (4, 3, 3), (2,), (1,), (1,), 1, (1,)),
    ConvolutionProduct(
        "conv_transpose2d", (1, 4, 5, 4), (4, 1, 3, 2), (2, 3), (1, 0), (1, 2), 2, (0, 1)
    ),
    Square((5,)),
    And((6, 2)),
    Bit((70,)),
    Truncation((9,), 16),
    Comparison((70, 2), 16),
    Comparison((3,), 63),
    Comparison((66,), 39),
    Pair((70, 2), 39, 3),
    Pair((3,), 63, 0),
    FusedRelu((65,), 16),
    TruncatedSquare((3, 4), 16),
    Choice(5, 0, 4),
    Choice(7, 3, 2),
    FusedRelu((65,), 16, exact=True),
    ExactTruncation((130,), 16),
]


def dealt(kinds: list[TupleKind]) -> list[tuple[TupleKind, list[torch.Tensor]]]:
    """Draw all kinds at both parties and open them."""
    run, seeds = SessionId(os.urandom(16)), (new_seed(), new_seed())
    dealer = Dealer(run, seeds, max_elements=1 << 20)
    sides = [Tuples(party, run, seeds[party], WireLink(dealer, party)) for party in (0, 1)]
    opened = []
    for kind in kinds:
        first, second = (side.draw(kind) for side in sides)
        free = zip(kind.free_sharing, first.free, second.free, strict=True)
        derived = zip(kind.derived_sharing, first.derived, second.derived, strict=True)
        opened.append((kind, [combined(*part) for part in (*free, *derived)]))
    return opened


def test_every_kind_of_tuple_opens_to_what_it_promises():
    for kind, values in dealt(KINDS + KINDS):  # twice: at an even and at an odd counter
        free, derived = values[: len(kind.free)], values[len(kind.free) :]
        expected = kind.derive(free)
        assert all(map(torch.equal, derived, expected)), kind.purpose
        assert [tuple(value.shape) for value in derived] == kind.derived


def test_corrections_alternate_between_the_parties():
    run, seeds = SessionId(os.urandom(16)), (new_seed(), new_seed())
    dealer = Dealer(run, seeds, max_elements=100)
    dealer.correct(0, 0, Square((2,)))
    dealer.correct(1, 1, Square((2,)))
    with pytest.raises(NotAllowed):
        dealer.correct(0, 3, Square((2,)))


def test_a_repeated_counter_is_refused():
    dealer = Dealer(SessionId(os.urandom(16)), (new_seed(), new_seed()), max_elements=100)
    dealer.correct(0, 4, Square((2,)))
    for counter in (4, 2):
        with pytest.raises(AlreadyExists):
            dealer.correct(0, counter, Square((2,)))


def test_a_tuple_larger_than_the_bound_is_refused_before_it_is_made():
    dealer = Dealer(SessionId(os.urandom(16)), (new_seed(), new_seed()), max_elements=100)
    with pytest.raises(LimitExceeded):
        dealer.correct(0, 0, Square((1 << 60,)))
    with pytest.raises(LimitExceeded):
        dealer.correct(0, 0, Product("matmul", (50, 2), (2, 50)))
    assert dealer.correct(0, 0, Square((100,))).numel() == 100


def test_a_fixed_weight_larger_than_the_bound_is_refused_before_its_mask_is_made():
    seeds, weight_seeds = (new_seed(), new_seed()), (new_seed(), new_seed())
    dealer = Dealer(SessionId(os.urandom(16)), seeds, weight_seeds, max_elements=100)
    with pytest.raises(LimitExceeded):
        dealer.correct(0, 0, FixedProduct("dense", "0.weight", (2, 8, 1 << 20), (1, 1, 1 << 20)))
    small = FixedProduct("dense", "0.weight", (2, 5, 10), (1, 1, 10))
    with pytest.raises(LimitExceeded):
        dealer.correct(0, 0, FixedProduct("dense", "0.weight", (2, 6, 10), (1, 1, 10)))
    for maps in (1, 8):  # few, and many: both make more of 8 x 8 pixels
        unfolded = FixedProduct("conv", "0.weight", (1, maps, 1, 3, 3), (1, 1, 1, 8, 8))
        with pytest.raises(LimitExceeded):
            dealer.correct(0, 0, replace(unfolded, window=Window()))
        with pytest.raises(LimitExceeded):
            dealer.correct(0, 0, replace(unfolded, window=Window(padding=(9, 0, 0, 0))))
    with pytest.raises(ShareError):
        dealer.correct(0, 0, FixedProduct("conv", "0.weight", (1, 1, 1, 1, 65), (1, 1, 1, 1, 70)))
    assert dealer.correct(0, 0, small).numel() == 10


def test_a_convolution_that_unfolds_to_more_than_the_bound_is_refused_before_it_is_made():
    dealer = Dealer(SessionId(os.urandom(16)), (new_seed(), new_seed()), max_elements=1000)
    alone = ((1,), (0,), (1,), 1, (0,))
    with pytest.raises(LimitExceeded):
        dealer.correct(0, 0, ConvolutionProduct("conv1d", (1, 1, 100), (1, 1, 20), *alone))
    with pytest.raises(LimitExceeded):
        dealer.correct(0, 0, ConvolutionProduct("conv_transpose1d", (1, 1, 50), (1, 1, 30), *alone))
    small = ConvolutionProduct("conv1d", (1, 1, 100), (1, 1, 9), *alone)
    assert dealer.correct(0, 0, small).numel() == 92


def convolution(**changes) -> pb.TupleRequest:
    fields = {
        "kind": pb.ConvolutionTuple.CONV2D, "left": [1, 4, 6, 7], "right": [2, 4, 3, 2],
        "stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "more": [0, 0],
    }  # fmt: skip
    return pb.TupleRequest(convolution=pb.ConvolutionTuple(**(fields | changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 0}, {"kind": 5}, {"left": [4, 6, 7]}, {"right": [2, 4, 3]},
        {"right": [2, 4, 3, 65]}, {"stride": [1]}, {"stride": [0, 1]}, {"stride": [65, 1]},
        {"padding": [0, 0, 0]},
        {"padding": [65, 0]}, {"dilation": [0, 1]}, {"dilation": [1, 65]}, {"groups": 0},
        {"groups": (1 << 20) + 1}, {"more": [1, 0]}, {"more": []},
        {"kind": pb.ConvolutionTuple.CONV_TRANSPOSE2D, "right": [4, 2, 3, 3], "more": [1, 0]},
    ],
    ids=str,
)  # fmt: skip
def test_a_convolution_out_of_bounds_is_refused(changes):
    assert tuple_codec.from_wire(convolution()).derived == [(1, 2, 4, 6)]
    with pytest.raises(ShareError):
        tuple_codec.from_wire(convolution(**changes))


@pytest.mark.parametrize(
    "changes",
    [{"left": [1, 3, 6, 7]}, {"right": [2, 4, 7, 2]}, {"groups": 3}, {"dilation": [9, 9]}],
    ids=str,
)
def test_a_convolution_that_does_not_exist_is_refused(changes):
    dealer = Dealer(SessionId(os.urandom(16)), (new_seed(), new_seed()), max_elements=1 << 20)
    with pytest.raises(ShareError):
        dealer.correct(0, 0, tuple_codec.from_wire(convolution(**changes)))


@pytest.mark.parametrize(
    "kind", [Product("matmul", (2, 3), (4, 5)), Product("conv2d", (1, 3, 5, 5), (4, 2, 3, 3))]
)
def test_a_product_that_does_not_exist_is_refused(kind):
    dealer = Dealer(SessionId(os.urandom(16)), (new_seed(), new_seed()), max_elements=100)
    with pytest.raises(ShareError):
        dealer.correct(0, 0, kind)


def stream(seed=b"s" * 32, purpose="p", session=b"x" * 16, counter=0):
    return MaskStream(seed, purpose=purpose, session=session, counter=counter)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": b"t" * 32},
        {"purpose": "q"},
        {"session": b"y" * 16},
        {"counter": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_of_the_key_gives_unrelated_masks(other):
    assert not set(stream().take((64,)).tolist()) & set(stream(**other).take((64,)).tolist())


@pytest.mark.parametrize("words", [1, 1 << 15, (1 << 15) + 1, 1 << 17])
def test_a_stream_is_the_same_however_it_is_taken(words):
    whole, pieces = stream().take((words + 6,)), stream()
    first, empty, second = pieces.take_each([(words,), (0, 4), (2, 1)])
    parts = [first, empty.reshape(-1), second.reshape(-1), pieces.take((4,))]
    assert torch.equal(torch.cat(parts), whole)


def test_the_mask_stream_is_the_documented_one():
    # docs/reference/wire.md, "Masks": a dealer in another language must get the same words.
    words = stream().take((2,)).numpy().view("uint64")
    assert [f"{word:016x}" for word in words] == ["f1eb80c12f37fb32", "88df30d3dccd2df9"]


def test_a_stream_never_gives_the_same_words_twice():
    source = stream()
    assert not set(source.take((100,)).tolist()) & set(source.take((100,)).tolist())


FIXED: list[TupleKind] = [
    FixedProduct("dense", "0.weight", (2, 5, 10), (1, 1, 10)),
    FixedProduct("conv", "12.weight", (2, 5, 3, 3, 3), (1, 2, 3, 8, 8), Window(2)),
    FixedProduct("conv", "3.weight", (2, 5, 3, 3, 3), (1, 2, 3, 8, 8), Window(1, 2, (1, 0, 2, 3))),
]


@pytest.mark.parametrize("kind", KINDS + FIXED, ids=lambda kind: kind.purpose)
def test_tuple_requests_survive_the_wire(kind):
    request = tuple_codec.to_wire(7, kind)
    again = pb.TupleRequest.FromString(request.SerializeToString())
    assert (again.counter, tuple_codec.from_wire(again)) == (7, kind)


@pytest.mark.parametrize(
    "request_",
    [
        pb.TupleRequest(counter=1),
        pb.TupleRequest(square=pb.SquareTuple()),
        pb.TupleRequest(square=pb.SquareTuple(shape=[0, 3])),
        pb.TupleRequest(square=pb.SquareTuple(shape=[1 << 40, 1 << 40])),
        pb.TupleRequest(truncation=pb.TruncationTuple(shape=[3], bits=0)),
        pb.TupleRequest(truncation=pb.TruncationTuple(shape=[3], bits=64)),
        pb.TupleRequest(comparison=pb.ComparisonTuple(shape=[3])),
        pb.TupleRequest(comparison=pb.ComparisonTuple(shape=[3], bits=47)),
        pb.TupleRequest(comparison=pb.ComparisonTuple(bits=48)),
        pb.TupleRequest(pair=pb.PairTuple(shape=[3], bits=40)),
        pb.TupleRequest(pair=pb.PairTuple(shape=[3], bits=39, carried=33)),
        pb.TupleRequest(pair=pb.PairTuple(bits=39)),
        pb.TupleRequest(relu=pb.ReluTuple(shape=[3], bits=0)),
        pb.TupleRequest(relu=pb.ReluTuple(shape=[3], bits=48)),
        pb.TupleRequest(relu=pb.ReluTuple(bits=16)),
        pb.TupleRequest(truncated_square=pb.TruncatedSquareTuple(bits=16)),
        pb.TupleRequest(truncated_square=pb.TruncatedSquareTuple(shape=[3], bits=0)),
        pb.TupleRequest(truncated_square=pb.TruncatedSquareTuple(shape=[3], bits=62)),
        pb.TupleRequest(choice=pb.ChoiceTuple(values=3, bits=4)),
        pb.TupleRequest(choice=pb.ChoiceTuple(indices=3, values=3)),
        pb.TupleRequest(choice=pb.ChoiceTuple(indices=3, values=3, bits=8)),
        pb.TupleRequest(choice=pb.ChoiceTuple(indices=1 << 20, values=1 << 20, bits=4)),
        pb.TupleRequest(relu=pb.ReluTuple(shape=[3], bits=15, exact=True)),
        pb.TupleRequest(truncation=pb.TruncationTuple(shape=[3], bits=32, exact=True)),
        *(
            pb.TupleRequest(
                fixed_product=pb.FixedProductTuple(
                    map=pb.FixedProductTuple.CONV,
                    name="0.weight",
                    weight=[1, 1, 1, 1, 1],
                    input=[1, 1, 1, 4, 4],
                    stride=1,
                    **window,
                )
            )
            for window in ({"factor": 65}, {"padding": [1]}, {"padding": [1, 1, 1, 65]})
        ),
        pb.TupleRequest(fixed_product=pb.FixedProductTuple(map=1, name="0.weight", stride=1)),  # type: ignore[arg-type]
        pb.TupleRequest(
            fixed_product=pb.FixedProductTuple(
                map=pb.FixedProductTuple.DENSE, name="../x", weight=[1], input=[1], stride=1
            )
        ),
        pb.TupleRequest(product=pb.ProductTuple(left=[2], right=[2])),
        pb.TupleRequest(
            product=pb.ProductTuple(kind=99, left=[2], right=[2])  # type: ignore[arg-type]
        ),
    ],
)
def test_malformed_tuple_requests_are_refused(request_):
    with pytest.raises(ShareError):
        tuple_codec.from_wire(request_)


@given(st.binary(max_size=200))
def test_garbage_never_becomes_anything_but_a_refusal(raw):
    with suppress(DecodeError, ShareError):
        tuple_codec.from_wire(pb.TupleRequest.FromString(raw))
