"""CrypTen's tuple provider, fed by the dealer: masks from AES-CTR, corrections from the stream."""

import math
from typing import Any, cast

import torch

from parties.mpc.convolution_product import AXES, ConvolutionOp, ConvolutionProduct
from parties.mpc.crypten_backend import running
from parties.mpc.crypten_backend.load import (
    ArithmeticSharedTensor,
    BinarySharedTensor,
    TupleProvider,
)
from parties.mpc.tuples import And, Bit, Product, Shape, Square, TupleKind
from privedge.errors import NotReady, NotSupported

# The dealer takes shapes of so many dimensions; others are dealt flat.
MOST_DIMENSIONS = 6


def kind_of(op: str, left: Shape, right: Shape, **options: Any) -> Product | ConvolutionProduct:
    """The triple for one of CrypTen's products; `options` are those of torch's function.

    Raises NotReady for another operation, ShareError for options that are out of bounds.
    """
    if op in ("mul", "matmul") and not options:
        # mypy cannot narrow a str by `in`.
        return Product(op, left, right)  # type: ignore[arg-type]
    if op not in AXES:
        raise NotReady(f"no tuple for {op}")
    axes = AXES[op]
    stride, padding, dilation, more = (
        _each(options.pop(name, usual), axes)
        for name, usual in (("stride", 1), ("padding", 0), ("dilation", 1), ("output_padding", 0))
    )
    groups = options.pop("groups", 1)
    if options:
        raise NotReady(f"no tuple for {op} with {sorted(options)}")
    if (
        op == "conv2d"
        and len({*stride}) == len({*dilation}) == 1 == dilation[0]
        and not any(padding)
    ):
        return Product("conv2d", left, right, stride[0], groups)
    return ConvolutionProduct(
        cast(ConvolutionOp, op), left, right, stride, padding, dilation, groups, more
    )


def _each(option: Any, axes: int) -> Shape:
    entries = (option,) if isinstance(option, int) else tuple(option)
    return entries * axes if len(entries) == 1 else entries


def _draw(kind: TupleKind) -> list[torch.Tensor]:
    shares = running.session().tuples.draw(kind)
    return [*shares.free, *shares.derived]


def _of_any_rank(kind: Any, size: Any) -> list[torch.Tensor]:
    """The parts of an element-wise tuple, each of shape `size`."""
    shape = tuple(size)
    dealt = shape if 1 <= len(shape) <= MOST_DIMENSIONS else (math.prod(shape),)
    return [part.view(shape) for part in _draw(kind(dealt))]


def _additive(share: torch.Tensor) -> Any:
    return ArithmeticSharedTensor.from_shares(share, precision=0)


def _xor(share: torch.Tensor) -> Any:
    return BinarySharedTensor.from_shares(share, precision=0)


class DealerProvider(TupleProvider):  # type: ignore[misc]  # CrypTen is untyped
    """The tuples that CrypTen's beaver.py needs. It keeps none: a pool is prepared for sessions."""

    def generate_additive_triple(
        self, size0: Any, size1: Any, op: str, device: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any, Any]:
        if args:
            raise NotReady(f"no tuple for {op}")
        a, b, c = _draw(kind_of(op, tuple(size0), tuple(size1), **kwargs))
        return _additive(a), _additive(b), _additive(c)

    def square(self, size: Any, device: Any = None) -> tuple[Any, Any]:
        r, r2 = _of_any_rank(Square, size)
        return _additive(r), _additive(r2)

    def generate_binary_triple(
        self, size0: Any, size1: Any, device: Any = None
    ) -> tuple[Any, Any, Any]:
        if tuple(size0) != tuple(size1):
            raise NotReady("binary products need equal shapes")
        a, b, c = _of_any_rank(And, size0)
        return _xor(a), _xor(b), _xor(c)

    def B2A_rng(self, size: Any, device: Any = None) -> tuple[Any, Any]:
        word, bit = _of_any_rank(Bit, size)
        return _additive(bit), _xor(word & 1)

    def wrap_rng(self, size: Any, device: Any = None) -> Any:
        raise NotReady("wrap counts are for three parties; two use the engine's truncate")

    def trace(self, tracing: bool = True) -> None:
        raise NotSupported("tuples are not traced: a session's plan and the pool stand in for it")

    trace_once = fill_cache = save_cache = load_cache = trace


PROVIDER = DealerProvider()
