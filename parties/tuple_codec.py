"""Convert tuple requests to and from protobuf. Pure functions; sees kinds and shapes only.

`from_wire` does not trust its message: it checks it before it builds anything from it. Sizes are
checked against the dealer's limit later (parties.mpc.tuples.check_size).
"""

import re
from collections.abc import Callable
from typing import Literal

from parties.mpc.convolution_product import AXES, ConvolutionOp, ConvolutionProduct
from parties.mpc.fixed_product import FixedProduct
from parties.mpc.fused.choice import Choice
from parties.mpc.fused.pairs import Pair
from parties.mpc.fused.squares import TruncatedSquare
from parties.mpc.fused.tuples import Comparison, ExactTruncation, FusedRelu, TreeTuple
from parties.mpc.products import Map
from parties.mpc.tuples import And, Bit, Product, Square, Truncation, TupleKind
from parties.mpc.widening import Widen
from parties.mpc.window import Window
from parties.wire import dealer_pb2 as pb
from privedge.errors import ShareError
from privedge.rpc.codec import shape_from_wire

_WEIGHT = re.compile(r"[0-9]{1,3}\.[a-z]{1,16}")

_MAPS: dict[Map, pb.FixedProductTuple.Map.ValueType] = {
    "dense": pb.FixedProductTuple.DENSE,
    "dense_back": pb.FixedProductTuple.DENSE_BACK,
    "conv": pb.FixedProductTuple.CONV,
}
_MAP_NAMES: dict[int, Map] = {number: name for name, number in _MAPS.items()}
_OPS: dict[str, pb.ProductTuple.Kind.ValueType] = {
    "mul": pb.ProductTuple.MUL,
    "matmul": pb.ProductTuple.MATMUL,
    "conv2d": pb.ProductTuple.CONV2D,
}
_NAMES: dict[int, Literal["mul", "matmul", "conv2d"]] = {
    pb.ProductTuple.MUL: "mul",
    pb.ProductTuple.MATMUL: "matmul",
    pb.ProductTuple.CONV2D: "conv2d",
}
_CONVOLUTIONS: dict[ConvolutionOp, pb.ConvolutionTuple.Kind.ValueType] = {
    "conv1d": pb.ConvolutionTuple.CONV1D,
    "conv2d": pb.ConvolutionTuple.CONV2D,
    "conv_transpose1d": pb.ConvolutionTuple.CONV_TRANSPOSE1D,
    "conv_transpose2d": pb.ConvolutionTuple.CONV_TRANSPOSE2D,
}
_CONVOLUTION_NAMES: dict[int, ConvolutionOp] = {at: name for name, at in _CONVOLUTIONS.items()}


def to_wire(counter: int, kind: TupleKind) -> pb.TupleRequest:
    """Convert a request to its message, the inverse of `from_wire`."""
    match kind:
        case Product() | FixedProduct() | ConvolutionProduct():
            request = _product_to_wire(kind)
        case Square(shape=shape):
            request = pb.TupleRequest(square=pb.SquareTuple(shape=shape))
        case And(shape=shape):
            request = pb.TupleRequest(conjunction=pb.AndTuple(shape=shape))
        case Bit(shape=shape):
            request = pb.TupleRequest(bit=pb.BitTuple(shape=shape))
        case TreeTuple() | Truncation() | TruncatedSquare():
            request = _bits_to_wire(kind)
        case Widen(shape=shape, bits=bits):
            request = pb.TupleRequest(widen=pb.WidenTuple(shape=shape, bits=bits))
        case Choice(indices=indices, values=values, bits=bits):
            choice = pb.ChoiceTuple(indices=indices, values=values, bits=bits)
            request = pb.TupleRequest(choice=choice)
        case _:
            raise ShareError(f"no wire form for {kind.purpose}")
    request.counter = counter
    return request


def _product_to_wire(kind: Product | FixedProduct | ConvolutionProduct) -> pb.TupleRequest:
    if isinstance(kind, ConvolutionProduct):
        return _convolution_to_wire(kind)
    if isinstance(kind, Product):
        product = pb.ProductTuple(
            kind=_OPS[kind.op],
            left=kind.left,
            right=kind.right,
            stride=kind.stride,
            groups=kind.groups,
        )
        return pb.TupleRequest(product=product)
    fixed = pb.FixedProductTuple(
        map=_MAPS[kind.map],
        name=kind.name,
        weight=kind.weight,
        input=kind.input,
        stride=kind.window.stride,
        factor=kind.window.factor,
        padding=kind.window.padding,
    )
    return pb.TupleRequest(fixed_product=fixed)


def _convolution_to_wire(kind: ConvolutionProduct) -> pb.TupleRequest:
    convolution = pb.ConvolutionTuple(
        kind=_CONVOLUTIONS[kind.op],
        left=kind.left,
        right=kind.right,
        stride=kind.stride,
        padding=kind.padding,
        dilation=kind.dilation,
        groups=kind.groups,
        more=kind.more,
    )
    return pb.TupleRequest(convolution=convolution)


def _bits_to_wire(kind: TreeTuple | Truncation | TruncatedSquare) -> pb.TupleRequest:
    shape, bits = kind.shape, kind.bits
    if isinstance(kind, Pair):
        return pb.TupleRequest(pair=pb.PairTuple(shape=shape, bits=bits, carried=kind.carried))
    if isinstance(kind, (Truncation, ExactTruncation)):
        exact = isinstance(kind, ExactTruncation)
        return pb.TupleRequest(truncation=pb.TruncationTuple(shape=shape, bits=bits, exact=exact))
    if isinstance(kind, Comparison):
        return pb.TupleRequest(comparison=pb.ComparisonTuple(shape=shape, bits=bits))
    if isinstance(kind, TruncatedSquare):
        square = pb.TruncatedSquareTuple(shape=shape, bits=bits)
        return pb.TupleRequest(truncated_square=square)
    exact = isinstance(kind, FusedRelu) and kind.exact
    return pb.TupleRequest(relu=pb.ReluTuple(shape=shape, bits=bits, exact=exact))


def from_wire(request: pb.TupleRequest) -> TupleKind:
    """Return the kind of tuple requested. Raises ShareError for anything that is not allowed."""
    name = request.WhichOneof("tuple")
    if name is None:
        raise ShareError("tuple request: no kind named")
    return _READERS[name](request)


def _fixed_product(message: pb.FixedProductTuple) -> FixedProduct:
    if message.map not in _MAP_NAMES or not _WEIGHT.fullmatch(message.name):
        raise ShareError("fixed product tuple: not an allowed map or name")
    if not 1 <= message.stride <= 64:
        raise ShareError("fixed product tuple: stride out of range")
    if (
        message.factor > 64
        or len(message.padding) not in (0, 4)
        or max(message.padding, default=0) > 64
    ):
        raise ShareError("fixed product tuple: factor or padding out of range")
    return FixedProduct(
        _MAP_NAMES[message.map],
        message.name,
        shape_from_wire(message.weight, "fixed product tuple"),
        shape_from_wire(message.input, "fixed product tuple"),
        _window(message),
    )


def _window(message: pb.FixedProductTuple) -> Window:
    left, right, above, below = message.padding or (0, 0, 0, 0)
    return Window(message.stride, message.factor or 1, (left, right, above, below))


def _product(message: pb.ProductTuple) -> Product:
    if message.kind not in _NAMES:
        raise ShareError("product tuple: not an allowed operation")
    if message.stride > 64 or message.groups > 1 << 20:
        raise ShareError("product tuple: stride or groups out of range")
    return Product(
        _NAMES[message.kind],
        shape_from_wire(message.left, "product tuple"),
        shape_from_wire(message.right, "product tuple"),
        stride=max(1, message.stride),
        groups=max(1, message.groups),
    )


def _convolution(message: pb.ConvolutionTuple) -> ConvolutionProduct:
    if message.kind not in _CONVOLUTION_NAMES:
        raise ShareError("convolution tuple: not an allowed operation")
    op = _CONVOLUTION_NAMES[message.kind]
    options = (message.stride, message.padding, message.dilation, message.more)
    if any(len(option) != AXES[op] for option in options) or message.groups > 1 << 20:
        raise ShareError("convolution tuple: options or groups out of range")
    stride, padding, dilation, more = (tuple(option) for option in options)
    return ConvolutionProduct(
        op,
        shape_from_wire(message.left, "convolution tuple"),
        shape_from_wire(message.right, "convolution tuple"),
        stride,
        padding,
        dilation,
        message.groups,
        more,
    )


def _truncation(message: pb.TruncationTuple) -> Truncation | ExactTruncation:
    shape = shape_from_wire(message.shape, "truncation tuple")
    if message.exact:
        return ExactTruncation(shape, message.bits)
    if not 1 <= message.bits <= 62:
        raise ShareError("truncation tuple: between 1 and 62 bits")
    return Truncation(shape, message.bits)


def _comparison(message: pb.ComparisonTuple) -> Comparison:
    return Comparison(shape_from_wire(message.shape, "comparison tuple"), message.bits)


def _pair(message: pb.PairTuple) -> Pair:
    return Pair(shape_from_wire(message.shape, "pair tuple"), message.bits, message.carried)


def _relu(message: pb.ReluTuple) -> FusedRelu:
    return FusedRelu(shape_from_wire(message.shape, "relu tuple"), message.bits, message.exact)


def _truncated_square(message: pb.TruncatedSquareTuple) -> TruncatedSquare:
    return TruncatedSquare(shape_from_wire(message.shape, "truncated square tuple"), message.bits)


def _widen(message: pb.WidenTuple) -> Widen:
    return Widen(shape_from_wire(message.shape, "widen tuple"), message.bits)


def _choice(message: pb.ChoiceTuple) -> Choice:
    shape_from_wire((message.indices, message.values or 1), "choice tuple")
    return Choice(message.indices, message.values, message.bits)


_READERS: dict[str, Callable[[pb.TupleRequest], TupleKind]] = {
    "product": lambda request: _product(request.product),
    "convolution": lambda request: _convolution(request.convolution),
    "square": lambda request: Square(shape_from_wire(request.square.shape, "square tuple")),
    "conjunction": lambda request: And(shape_from_wire(request.conjunction.shape, "and tuple")),
    "bit": lambda request: Bit(shape_from_wire(request.bit.shape, "bit tuple")),
    "truncation": lambda request: _truncation(request.truncation),
    "comparison": lambda request: _comparison(request.comparison),
    "relu": lambda request: _relu(request.relu),
    "pair": lambda request: _pair(request.pair),
    "truncated_square": lambda request: _truncated_square(request.truncated_square),
    "choice": lambda request: _choice(request.choice),
    "widen": lambda request: _widen(request.widen),
    "fixed_product": lambda request: _fixed_product(request.fixed_product),
}
