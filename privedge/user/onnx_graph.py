"""Read an ONNX file as layers of the closed list (privedge/graph) and parameters.

The file is data: nothing in it is run, no other file is opened, and an operation that is not on
the list is refused by name. A batch normalisation is folded into the layer before it. What
onnxruntime or torch would compute is computed up to rounding.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from privedge import extras, regular_file
from privedge.errors import CheckpointError
from privedge.graph.layers import Layer, Shape, output_shape

_MAX_BYTES = 1 << 29
_MOST_NODES = 512
# An initializer of another type is no parameter of a layer.
_FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}

Array = npt.NDArray[Any]
_LAYER: TypeAdapter[Layer] = TypeAdapter(Layer)


@dataclass
class Graph:
    """Layers as the JSON of privedge/graph, the shape of one input, and parameters, float32."""

    input: Shape
    layers: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Array] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class _Node:
    """An operation: its name for messages, and what it reads and writes."""

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    options: dict[str, Any]

    def refused(self, why: str) -> CheckpointError:
        return CheckpointError(f"operation {self.op} (node {self.name!r:.60}): {why}")


def read(path: Path) -> bytes:
    """Read a file of at most 512 MiB. Raises CheckpointError."""
    try:
        if regular_file.require(path).st_size > _MAX_BYTES:
            raise CheckpointError(f"{path}: larger than {_MAX_BYTES} bytes")
        return regular_file.read(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None


def layers_of(raw: bytes) -> Graph:
    """Read the bytes of an ONNX file. Raises CheckpointError, and MissingExtra without onnx."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ModuleNotFoundError as error:
        raise extras.missing(error, "an ONNX file needs", extras.FOR_ENCODERS) from None
    try:
        graph = onnx.load_model_from_string(raw).graph
    except (DecodeError, ValueError, TypeError):
        raise CheckpointError("the file is no ONNX file") from None
    if len(graph.node) > _MOST_NODES:
        raise CheckpointError(f"the graph has more than {_MOST_NODES} operations")
    return _Reader(onnx, graph).read()


class _Reader:
    """One graph, in order of its nodes."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        self._onnx, self._graph = onnx, graph
        self._constants = {each.name: each for each in graph.initializer}
        nodes = [node.input for node in graph.node]
        self._readers = Counter(name for names in nodes for name in names)
        # Of each value that depends on the input: the layer that it is the output of, -1 for the
        # input itself.
        self._places: dict[str, int] = {}
        self._found = Graph(())
        self._shapes: list[Shape] = []

    def read(self) -> Graph:
        inputs = [each for each in self._graph.input if each.name not in self._constants]
        if len(inputs) != 1 or len(self._graph.output) != 1:
            raise CheckpointError("the graph must have one input and one output")
        self._found.input = self._input_shape(inputs[0])
        self._places[inputs[0].name] = -1
        for node in self._graph.node:
            self._take(node)
        last = self._places.get(self._graph.output[0].name)
        if last is None or last != len(self._found.layers) - 1 or last < 0:
            raise CheckpointError("the graph's output is not what its last layer gives")
        return self._found

    @staticmethod
    def _input_shape(value: Any) -> Shape:
        extents = [each.dim_value for each in value.type.tensor_type.shape.dim]
        if len(extents) not in (2, 4) or min(extents[1:]) < 1:
            raise CheckpointError(
                f"input {value.name!r:.60}: must be (batch, features) or (batch, channels, "
                "height, width), of a fixed size"
            )
        return tuple(extents[1:])

    def _take(self, node: Any) -> None:
        options = {each.name: self._option(each) for each in node.attribute}
        name = node.name or (node.output[0] if node.output else "")
        outputs = [each for each in node.output if each]
        if node.op_type == "Dropout":
            del outputs[1:]  # a mask, which nothing reads where nothing is dropped
        this = _Node(node.op_type, name, tuple(node.input), outputs[0] if outputs else "", options)
        if node.domain not in ("", "ai.onnx") or len(outputs) != 1:
            raise this.refused("has several outputs, or is of another domain")
        if node.op_type == "Constant" and "value" in options:
            self._constants[this.output] = options["value"]
            return
        reader = _OPERATIONS.get(node.op_type)
        if reader is None:
            raise this.refused(f"is not on the list; see docs/how-to/serve-models.md{_hint(this)}")
        reader(self, this)

    def _option(self, attribute: Any) -> Any:
        kind = attribute.type
        types = self._onnx.AttributeProto
        if kind in (types.INT, types.INTS, types.FLOAT, types.FLOATS, types.STRING, types.TENSOR):
            found = self._onnx.helper.get_attribute_value(attribute)
            return list(found) if kind in (types.INTS, types.FLOATS) else found
        raise CheckpointError(f"attribute {attribute.name!r:.60}: graphs in graphs are not read")

    # --- What operations read ---------------------------------------------------------------------

    def place(self, node: _Node, at: int = 0) -> int:
        """The layer whose output the node takes."""
        if at >= len(node.inputs) or node.inputs[at] not in self._places:
            raise node.refused("takes what is neither a layer's output nor the input")
        return self._places[node.inputs[at]]

    def constant(self, node: _Node, at: int) -> Array | None:
        """The constant that the node takes as its input number `at`; None for none."""
        name = node.inputs[at] if at < len(node.inputs) else ""
        tensor = self._constants.get(name)
        if tensor is None:
            return None
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            raise node.refused("its parameters are in another file; save the model as one file")
        try:
            return np.array(self._onnx.numpy_helper.to_array(tensor))
        except (ValueError, TypeError):
            raise node.refused("a constant of it is damaged") from None

    def names_constant(self, node: _Node) -> bool:
        """Whether the node gives a constant another name, which is noted."""
        found = self._constants.get(node.inputs[0]) if node.inputs else None
        if found is not None:
            self._constants[node.output] = found
        return found is not None

    def parameter(self, node: _Node, at: int) -> Array:
        """The same for a parameter, float32."""
        found = self.constant(node, at)
        if found is None or found.dtype not in _FLOATS.values():
            raise node.refused("its weights must be numbers in the file")
        return found.astype(np.float32)

    def alone(self, node: _Node) -> int:
        """The layer before, if this node alone reads its output; else it may not be changed."""
        place = self.place(node)
        if place < 0 or self._readers[node.inputs[0]] != 1:
            raise node.refused("must follow a layer that nothing else reads")
        return place

    # --- What they write --------------------------------------------------------------------------

    def same(self, node: _Node, place: int) -> None:
        """The node's output is that of a layer which is there already."""
        self._places[node.output] = place

    def put(self, node: _Node, layer: dict[str, Any], **parameters: Array) -> None:
        """Add a layer that takes what the node takes first."""
        at, place = len(self._found.layers), self.place(node)
        try:
            checked = _LAYER.validate_python(layer)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"][1:])
            raise node.refused(f"{where}: {first['msg']}") from None
        self._shapes.append(output_shape(checked, self.shape(place), node.name or node.op))
        self._found.layers.append(layer if place == at - 1 else {**layer, "of": place})
        for name, value in parameters.items():
            self._found.parameters[f"{at}.{name}"] = value
        self._places[node.output] = at

    def shape(self, place: int) -> Shape:
        """The shape of one sample of a layer's output, or of the input."""
        return self._found.input if place < 0 else self._shapes[place]

    def layer(self, place: int) -> str:
        """The kind of a layer."""
        return str(self._found.layers[place]["kind"])

    def scale(self, node: _Node, place: int, factor: Array | None, offset: Array) -> None:
        """Fold y * factor + offset, by channel or feature, into the layer y is of."""
        parameters = self._found.parameters
        weight, bias = parameters[f"{place}.weight"], parameters[f"{place}.bias"]
        if offset.shape != bias.shape:
            raise node.refused("its constant has not one number for each channel or feature")
        if factor is not None:
            shape = (-1, *[1] * (weight.ndim - 1))
            parameters[f"{place}.weight"] = (weight * factor.reshape(shape)).astype(np.float32)
            bias = bias * factor
        parameters[f"{place}.bias"] = (bias + offset).astype(np.float32)
        self.same(node, place)


def _hint(node: _Node) -> str:
    if node.op in ("Softmax", "LogSoftmax", "Sigmoid"):
        return "; leave it out: labels are the same without it, and clients can apply it to scores"
    return ""


def _window(node: _Node) -> tuple[list[int], int, list[int]]:
    """Kernel, stride and padding (rows, columns); everything else must be as usual."""
    options = node.options
    kernel = options.get("kernel_shape", [])
    strides = options.get("strides", [1] * len(kernel))
    pads = options.get("pads", [0] * 2 * len(kernel))
    usual = (
        options.get("auto_pad", b"NOTSET") == b"NOTSET"
        and set(options.get("dilations", [1])) == {1}
        and options.get("group", 1) == 1
        and not options.get("ceil_mode", 0)
    )
    if len(kernel) != 2 or len(strides) != 2 or len(pads) != 4 or strides[0] != strides[1]:
        raise node.refused("must have two dimensions, and one stride for both")
    if not usual or pads[:2] != pads[2:]:
        raise node.refused("has groups, dilation, automatic or uneven padding")
    return kernel, strides[0], pads[:2]


def _conv(reader: _Reader, node: _Node) -> None:
    weight = reader.parameter(node, 1)
    if weight.ndim != 4:
        raise node.refused("must have two dimensions")
    filled = _Node(
        node.op, node.name, node.inputs, node.output,
        {"kernel_shape": list(weight.shape[2:]), **node.options},
    )  # fmt: skip
    kernel, stride, padding = _window(filled)
    if kernel != list(weight.shape[2:]):
        raise node.refused("its kernel has another size than its weights")
    bias = _bias(reader, node, len(weight))
    layer = {"kind": "conv", "channels": len(weight), "kernel": kernel}
    layer |= {"stride": stride, "padding": padding}
    reader.put(node, layer, weight=weight, bias=bias)


def _bias(reader: _Reader, node: _Node, size: int) -> Array:
    if len(node.inputs) < 3 or not node.inputs[2]:
        return np.zeros(size, np.float32)
    return reader.parameter(node, 2).reshape(-1)


def _gemm(reader: _Reader, node: _Node) -> None:
    options = node.options
    if options.get("alpha", 1) != 1 or options.get("beta", 1) != 1 or options.get("transA", 0):
        raise node.refused("has factors, or a transposed input")
    weight = reader.parameter(node, 1)
    if not options.get("transB", 0):
        weight = weight.T
    _dense(reader, node, weight, _bias(reader, node, len(weight)))


def _matmul(reader: _Reader, node: _Node) -> None:
    weight = reader.parameter(node, 1).T
    _dense(reader, node, weight, np.zeros(len(weight), np.float32))


def _dense(reader: _Reader, node: _Node, weight: Array, bias: Array) -> None:
    if weight.ndim != 2:
        raise node.refused("its weights must be a matrix")
    layer = {"kind": "dense", "features": len(weight)}
    reader.put(node, layer, weight=np.ascontiguousarray(weight), bias=bias)


def _max_pool(reader: _Reader, node: _Node) -> None:
    kernel, stride, padding = _window(node)
    if kernel[0] != kernel[1] or padding != [0, 0]:
        raise node.refused("must have a square window, and no padding")
    reader.put(node, {"kind": "max_pool", "window": kernel[0], "stride": stride})


def _average_pool(reader: _Reader, node: _Node) -> None:
    kernel, stride, padding = _window(node)
    if padding != [0, 0]:
        raise node.refused("must have no padding")
    reader.put(node, {"kind": "average_pool", "window": kernel, "stride": stride})


def _global_average_pool(reader: _Reader, node: _Node) -> None:
    shape = reader.shape(reader.place(node))
    if len(shape) != 3:
        raise node.refused("must have two dimensions")
    reader.put(node, {"kind": "average_pool", "window": list(shape[1:]), "stride": 1})


def _batch_normalisation(reader: _Reader, node: _Node) -> None:
    place = reader.alone(node)
    if reader.layer(place) not in ("conv", "dense") or node.options.get("training_mode", 0):
        raise node.refused("must follow a convolution or a dense layer, and not be trained")
    gamma, beta, mean, variance = (reader.parameter(node, at) for at in (1, 2, 3, 4))
    spread = np.sqrt(variance.astype(np.float64) + node.options.get("epsilon", 1e-5))
    factor = gamma / spread
    reader.scale(node, place, factor, beta - mean * factor)


def _add(reader: _Reader, node: _Node) -> None:
    for at in (0, 1):
        if (constant := reader.constant(node, at)) is not None:
            turned = _Node(node.op, node.name, (node.inputs[1 - at],), node.output, {})
            place = reader.alone(turned)
            if reader.layer(place) not in ("conv", "dense"):
                raise node.refused("a constant may be added to a convolution or dense layer only")
            reader.scale(turned, place, None, constant.reshape(-1))
            return
    reader.put(node, {"kind": "add", "plus": reader.place(node, 1)})


def _reshape(reader: _Reader, node: _Node) -> None:
    target = reader.constant(node, 1)
    if target is None or target.shape != (2,) or int(target[1]) == 0:
        raise node.refused("must flatten one sample to one dimension, by constants")
    reader.put(node, {"kind": "flatten"})


def _flatten(reader: _Reader, node: _Node) -> None:
    if node.options.get("axis", 1) != 1:
        raise node.refused("must flatten one sample")
    reader.put(node, {"kind": "flatten"})


def _plain(kind: str) -> Callable[[_Reader, _Node], None]:
    return lambda reader, node: reader.put(node, {"kind": kind})


def _multiplied(reader: _Reader, node: _Node) -> None:
    if reader.place(node, 0) != reader.place(node, 1):
        raise node.refused("must be the product of a value with itself")
    reader.put(node, {"kind": "square"})


def _passed(reader: _Reader, node: _Node) -> None:
    # Of parameters that are equal torch writes one, and the others name it.
    if reader.names_constant(node):
        return
    reader.same(node, reader.place(node))


_OPERATIONS: dict[str, Callable[[_Reader, _Node], None]] = {
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
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Identity": _passed,
    "Dropout": _passed,
}
