"""What each ONNX operation becomes: a layer, a change of the layer before it, or nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from privedge.user.onnx_node import Node

if TYPE_CHECKING:
    from privedge.user.onnx_graph import Reader

Array = npt.NDArray[Any]
Read = Callable[["Reader", Node], None]

_FLOAT, _DOUBLE = 1, 11
_AT_THE_END = ("Softmax", "LogSoftmax", "Sigmoid", "ArgMax", "ZipMap")


def hint(node: Node) -> str:
    """What to do about an operation that is not on the list, for a message."""
    if node.op in _AT_THE_END:
        return "; leave it out: labels are the same without it, and clients can apply it to scores"
    return ""


# --- Layers with weights --------------------------------------------------------------------------


def _conv(reader: "Reader", node: Node) -> None:
    shape, weight = reader.shape(reader.place(node)), reader.parameter(node, 1)
    if weight.ndim != len(shape) + 1:
        raise node.refused("its weights have other dimensions than its input")
    kernel = list(weight.shape[2:])
    window = node.window(shape, kernel)
    if window.kernel[-len(kernel) :] != kernel:
        raise node.refused("its kernel has another size than its weights")
    if weight.shape[1] != shape[0]:
        raise node.refused(f"its weights are for {weight.shape[1]} channels, not {shape[0]}")
    layer = {"kind": "conv", "channels": len(weight), "kernel": window.kernel}
    layer |= {"stride": window.stride, "padding": window.padding}
    weight = weight.reshape(*weight.shape[:2], *window.kernel)
    reader.put(node, layer, weight=weight, bias=_bias(reader, node, len(weight)))


def _gemm(reader: "Reader", node: Node) -> None:
    factors = node.number("alpha", 1.0), node.number("beta", 1.0)
    if factors != (1, 1) or node.integer("transA", 0):
        raise node.refused("has factors, or a transposed input")
    weight = _matrix(reader, node)
    weight = weight if node.integer("transB", 0) else weight.T
    _dense(reader, node, weight, _bias(reader, node, len(weight)))


def _matmul(reader: "Reader", node: Node) -> None:
    weight = _matrix(reader, node).T
    _dense(reader, node, weight, np.zeros(len(weight), np.float32))


def _matrix(reader: "Reader", node: Node) -> Array:
    weight = reader.parameter(node, 1)
    if weight.ndim != 2:
        raise node.refused("its weights must be a matrix")
    return weight


def _dense(reader: "Reader", node: Node, weight: Array, bias: Array) -> None:
    shape = reader.shape(reader.place(node))
    if len(shape) != 1:
        raise node.refused(f"needs one dimension, got {shape}; flatten it")
    if weight.shape[1] != shape[0]:
        raise node.refused(f"its weights are for {weight.shape[1]} values, not {shape[0]}")
    layer = {"kind": "dense", "features": len(weight)}
    reader.put(node, layer, weight=np.ascontiguousarray(weight), bias=bias)


def _bias(reader: "Reader", node: Node, size: int) -> Array:
    if len(node.inputs) < 3 or not node.inputs[2]:
        return np.zeros(size, np.float32)
    return _for_each(node, reader.parameter(node, 2), size, 0)


def _for_each(node: Node, constant: Array, size: int, axes_after: int) -> Array:
    """A constant as one number for each of `size` channels or features, as ONNX broadcasts it to a
    batch with so many axes after theirs. Raises CheckpointError if it differs along another axis.
    """
    own = constant.ndim - 1 - axes_after
    other = [extent for axis, extent in enumerate(constant.shape) if axis != own]
    fits = constant.ndim <= 2 + axes_after and constant.size in (1, size)
    if fits and all(extent == 1 for extent in other):
        return np.broadcast_to(constant.reshape(-1), (size,)).copy()
    raise node.refused("its constant has not one number for each channel or feature")


# --- Changes of the layer before ------------------------------------------------------------------


def _batch_normalisation(reader: "Reader", node: Node) -> None:
    place = reader.alone(node)
    if reader.kind(place) not in ("conv", "dense") or node.integer("training_mode", 0):
        raise node.refused("must follow a convolution or a dense layer, and not be trained")
    gamma, beta, mean, variance = (reader.parameter(node, at) for at in (1, 2, 3, 4))
    width = reader.shape(place)[:1]
    if any(each.shape != width for each in (gamma, beta, mean, variance)):
        raise node.refused("has not one number for each channel or feature")
    spread = variance.astype(np.float64) + node.number("epsilon", 1e-5)
    if not (spread > 0).all():
        raise node.refused("has a variance that is not above 0")
    with np.errstate(all="ignore"):  # what is not finite is refused with the others
        factor = gamma / np.sqrt(spread)
        offset = beta - mean * factor
    reader.scale(node, place, factor, offset)


def _add(reader: "Reader", node: Node) -> None:
    for at in (0, 1):
        if reader.is_constant(node, at):
            constant = reader.parameter(node, at)
            turned = Node(node.op, node.name, (node.inputs[1 - at],), node.output, {})
            place = reader.alone(turned)
            if reader.kind(place) not in ("conv", "dense"):
                raise node.refused("a constant may be added to a convolution or dense layer only")
            shape = reader.shape(place)
            reader.scale(turned, place, None, _for_each(node, constant, shape[0], len(shape) - 1))
            return
    reader.put(node, {"kind": "add", "plus": reader.place(node, 1)})


# --- Layers without weights -----------------------------------------------------------------------


def _max_pool(reader: "Reader", node: Node) -> None:
    shape = reader.shape(reader.place(node))
    window = node.window(shape)
    square = len(shape) == 2 or window.kernel[0] == window.kernel[1]
    if not square or any(window.padding):
        raise node.refused("must have a square window, and no padding")
    layer = {"kind": "max_pool", "window": window.kernel[1], "stride": window.stride}
    reader.put(node, layer)


def _average_pool(reader: "Reader", node: Node) -> None:
    window = node.window(reader.shape(reader.place(node)))
    if any(window.padding):
        raise node.refused("must have no padding")
    layer = {"kind": "average_pool", "window": window.kernel, "stride": window.stride}
    reader.put(node, layer)


def _global_average_pool(reader: "Reader", node: Node) -> None:
    shape = reader.shape(reader.place(node))
    if len(shape) not in (2, 3):
        raise node.refused("needs (channels, length) or (channels, height, width)")
    window = [1, *shape[1:]][-2:]
    reader.put(node, {"kind": "average_pool", "window": window, "stride": 1})


def _reshape(reader: "Reader", node: Node) -> None:
    shape, target = reader.shape(reader.place(node)), reader.constant(node, 1)
    if target is None or target.shape != (2,) or target.dtype.kind != "i":
        raise node.refused("must flatten one sample to one dimension, by constants")
    rows, values = map(int, target)
    literal = rows == 0 and node.integer("allowzero", 0)
    if literal or rows not in (reader.batch, 0, -1) or values not in (int(np.prod(shape)), -1):
        raise node.refused("must flatten one sample to one dimension, and keep the batch")
    reader.put(node, {"kind": "flatten"})


def _flatten(reader: "Reader", node: Node) -> None:
    if node.integer("axis", 1) != 1:
        raise node.refused("must flatten one sample")
    reader.put(node, {"kind": "flatten"})


def _multiplied(reader: "Reader", node: Node) -> None:
    if reader.place(node, 0) != reader.place(node, 1):
        raise node.refused("must be the product of a value with itself")
    reader.put(node, {"kind": "square"})


def _power(reader: "Reader", node: Node) -> None:
    exponent = reader.constant(node, 1)
    if exponent is None or exponent.size != 1 or exponent.dtype.kind not in "fi" or exponent != 2:
        raise node.refused("must be a square")
    reader.put(node, {"kind": "square"})


def _plain(kind: str) -> Read:
    return lambda reader, node: reader.put(node, {"kind": kind})


# --- Nothing --------------------------------------------------------------------------------------


def _passed(reader: "Reader", node: Node) -> None:
    # Of parameters that are equal torch writes one, and the others name it.
    if not reader.names_constant(node):
        reader.same(node, reader.place(node))


def _dropout(reader: "Reader", node: Node) -> None:
    training = reader.constant(node, 2)
    if training is not None and training.any():
        raise node.refused("is trained; export the model for evaluation")
    reader.same(node, reader.place(node))


def _cast(reader: "Reader", node: Node) -> None:
    if node.integer("to", 0) not in (_FLOAT, _DOUBLE):
        raise node.refused("must be to float or double")
    reader.same(node, reader.place(node))


OPERATIONS: dict[str, Read] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Relu": _plain("relu"),
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average_pool,
    "BatchNormalization": _batch_normalisation,
    "Add": _add,
    "Mul": _multiplied,
    "Pow": _power,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Identity": _passed,
    "Dropout": _dropout,
    "Cast": _cast,
}
