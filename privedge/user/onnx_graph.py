"""Read an ONNX file as layers of the closed list (privedge/graph) and parameters.

The file is data: nothing in it is run, no other file is opened, and an operation that is not on
the list is refused by name. A batch normalisation is folded into the layer before it. What
onnxruntime or torch would compute is computed up to rounding.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from privedge import extras, regular_file
from privedge.errors import CheckpointError
from privedge.graph.layers import Layer, Shape, output_shape
from privedge.graph.spec import MOST_PARAMETERS
from privedge.user.onnx_node import Node, escaped
from privedge.user.onnx_operations import OPERATIONS, hint

_MAX_BYTES = 1 << 29
_MOST_NODES = 512
_LEAST_OPSET = 7
# A constant of another type is no parameter of a layer.
_FLOATS = (np.float32, np.float16, np.float64)

Array = npt.NDArray[Any]
_LAYER: TypeAdapter[Layer] = TypeAdapter(Layer)


@dataclass
class Graph:
    """Layers as the JSON of privedge/graph, the shape of one input, and parameters, float32."""

    input: Shape
    layers: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[str, Array] = field(default_factory=dict, repr=False)


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
    no_file = CheckpointError("the file is no ONNX file")
    try:
        model = onnx.load_model_from_string(raw)
    except (DecodeError, ValueError, TypeError):
        raise no_file from None
    _require_opset(model)
    if len(model.graph.node) > _MOST_NODES:
        raise CheckpointError(f"the graph has more than {_MOST_NODES} operations")
    try:
        return Reader(onnx, model.graph).read()
    except UnicodeDecodeError:  # a text in the file, which is decoded where it is read
        raise no_file from None


def _require_opset(model: Any) -> None:
    """Before opset 7, Add and Mul broadcast by options of their own."""
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if not versions or versions[0] < _LEAST_OPSET:
        raise CheckpointError(f"the file has no opset of {_LEAST_OPSET} or later; export it again")


class Reader:
    """One graph, in order of its nodes. Operations ask it for what a node reads, and tell it what
    the node becomes.
    """

    def __init__(self, onnx: Any, graph: Any) -> None:
        self._onnx, self._graph = onnx, graph
        self._constants = {each.name: each for each in graph.initializer}
        read = [name for node in graph.node for name in node.input]
        self._readers = Counter([*read, *(each.name for each in graph.output)])
        # Of each value that depends on the input: the layer that it is the output of, -1 for the
        # input itself.
        self._places: dict[str, int] = {}
        self._found = Graph(())
        self._shapes: list[Shape] = []
        # Samples for which the file was made, where it says that.
        self.batch = 1

    def read(self) -> Graph:
        """All layers. Raises CheckpointError."""
        inputs = [each for each in self._graph.input if each.name not in self._constants]
        if len(inputs) != 1 or len(self._graph.output) != 1:
            raise CheckpointError(
                "the graph must have one input and one output; "
                "onnx.utils.extract_model cuts the scores out of a larger one"
            )
        self._found.input = self._input_shape(inputs[0])
        self._places[inputs[0].name] = -1
        for node in self._graph.node:
            self._take(node)
        last = self._places.get(self._graph.output[0].name)
        if last is None or last != len(self._found.layers) - 1 or last < 0:
            raise CheckpointError("the graph's output is not what its last layer gives")
        return self._found

    def _input_shape(self, value: Any) -> Shape:
        batch, *extents = [each.dim_value for each in value.type.tensor_type.shape.dim] or [0]
        if len(extents) not in (1, 2, 3) or min(extents) < 1:
            raise CheckpointError(
                f"input '{escaped(value.name)}': must be (batch, features), (batch, channels, "
                "length) or (batch, channels, height, width), of a fixed size"
            )
        self.batch = batch or 1
        return tuple(extents)

    def _take(self, node: Any) -> None:
        options = {each.name: self._option(each) for each in node.attribute}
        name = node.name or (node.output[0] if node.output else "")
        outputs = [each for each in node.output if each]
        if node.op_type == "Dropout":
            del outputs[1:]  # a mask, which nothing reads where nothing is dropped
        this = Node(node.op_type, name, tuple(node.input), outputs[0] if outputs else "", options)
        if node.domain not in ("", "ai.onnx"):
            raise this.refused(f"is of another domain, '{escaped(node.domain)}'")
        if len(outputs) != 1:
            raise this.refused("must have one output")
        if this.output in self._places or this.output in self._constants:
            raise this.refused("gives its output the name of another value")
        if node.op_type == "Constant" and isinstance(options.get("value"), self._onnx.TensorProto):
            self._constants[this.output] = options["value"]
            return
        reader = OPERATIONS.get(node.op_type)
        if reader is None:
            raise this.refused(f"is not on the list; see docs/how-to/serve-models.md{hint(this)}")
        reader(self, this)

    def _option(self, attribute: Any) -> Any:
        kind = attribute.type
        types = self._onnx.AttributeProto
        if kind in (types.INTS, types.FLOATS):
            return list(attribute.ints if kind == types.INTS else attribute.floats)
        plain = {types.INT: "i", types.FLOAT: "f", types.STRING: "s", types.TENSOR: "t"}
        if kind in plain:
            return getattr(attribute, plain[kind])
        raise CheckpointError(
            f"attribute '{escaped(attribute.name)}': graphs in graphs, and the like, are not read"
        )

    # --- What operations read ---------------------------------------------------------------------

    def place(self, node: Node, at: int = 0) -> int:
        """The layer whose output the node takes."""
        if at >= len(node.inputs) or node.inputs[at] not in self._places:
            raise node.refused("takes what is neither a layer's output nor the input")
        return self._places[node.inputs[at]]

    def is_constant(self, node: Node, at: int) -> bool:
        """Whether the node takes a constant as its input number `at`."""
        return at < len(node.inputs) and node.inputs[at] in self._constants

    def constant(self, node: Node, at: int) -> Array | None:
        """The constant that the node takes as its input number `at`; None for none."""
        if not self.is_constant(node, at):
            return None
        tensor = self._constants[node.inputs[at]]
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            raise node.refused("its parameters are in another file; save the model as one file")
        if min(tensor.dims, default=1) < 0 or math.prod(tensor.dims) > MOST_PARAMETERS:
            raise node.refused(f"a constant of it has more than {MOST_PARAMETERS} numbers")
        try:
            return np.array(self._onnx.numpy_helper.to_array(tensor))
        except Exception:  # of kinds that share no root: ValueError, KeyError and others
            raise node.refused("a constant of it is damaged") from None

    def names_constant(self, node: Node) -> bool:
        """Whether the node gives a constant another name, which is noted."""
        if not self.is_constant(node, 0):
            return False
        self._constants[node.output] = self._constants[node.inputs[0]]
        return True

    def parameter(self, node: Node, at: int) -> Array:
        """The same for a parameter, float32."""
        found = self.constant(node, at)
        if found is None or found.dtype not in _FLOATS:
            raise node.refused("its weights must be numbers in the file")
        with np.errstate(all="ignore"):  # what is not finite is refused with the others
            return found.astype(np.float32)

    def alone(self, node: Node) -> int:
        """The layer before, if this node alone reads its output; else it may not be changed."""
        place = self.place(node)
        if place < 0 or self._readers[node.inputs[0]] != 1:
            raise node.refused("must follow a layer that nothing else reads")
        return place

    def shape(self, place: int) -> Shape:
        """The shape of one sample of a layer's output, or of the input."""
        return self._found.input if place < 0 else self._shapes[place]

    def kind(self, place: int) -> str:
        """The kind of a layer."""
        return str(self._found.layers[place]["kind"])

    # --- What they write --------------------------------------------------------------------------

    def same(self, node: Node, place: int) -> None:
        """The node's output is that of a layer which is there already."""
        self._places[node.output] = place

    def put(self, node: Node, layer: dict[str, Any], **parameters: Array) -> None:
        """Add a layer that takes what the node takes first."""
        at, place = len(self._found.layers), self.place(node)
        try:
            checked = _LAYER.validate_python(layer)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"][1:])
            raise node.refused(f"{where}: {first['msg']}") from None
        where = f"operation {node.op} (node '{escaped(node.name)}')"
        self._shapes.append(output_shape(checked, self.shape(place), where))
        self._found.layers.append(layer if place == at - 1 else {**layer, "of": place})
        for name, value in parameters.items():
            self._found.parameters[f"{at}.{name}"] = value
        if sum(each.size for each in self._found.parameters.values()) > MOST_PARAMETERS:
            raise node.refused(f"with it, parameters are more than {MOST_PARAMETERS}")
        self._places[node.output] = at

    def scale(self, node: Node, place: int, factor: Array | None, offset: Array) -> None:
        """Fold y * factor + offset, by channel or feature, into the layer y is of."""
        parameters = self._found.parameters
        weight, bias = parameters[f"{place}.weight"], parameters[f"{place}.bias"]
        with np.errstate(all="ignore"):
            if factor is not None:
                shape = (-1, *[1] * (weight.ndim - 1))
                parameters[f"{place}.weight"] = (weight * factor.reshape(shape)).astype(np.float32)
                bias = bias * factor
            parameters[f"{place}.bias"] = (bias + offset).astype(np.float32)
        self.same(node, place)
