"""Small ONNX files with real layers and fixed weights, for tests of encoders."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

REAL = onnx.TensorProto.FLOAT


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tensor(name: str, values: Any) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def saved(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[onnx.TensorProto] = (),
    *,
    shape: Sequence[int | str] = ("n", 3, 32, 32),
    further_inputs: Sequence[onnx.ValueInfoProto] = (),
    kind: int = REAL,
    outputs: Sequence[str] = ("y",),
) -> Path:
    """Writes a graph from x to y."""
    graph = helper.make_graph(
        list(nodes),
        "encoder",
        [helper.make_tensor_value_info("x", kind, list(shape)), *further_inputs],
        [helper.make_tensor_value_info(name, REAL, None) for name in outputs],
        list(weights),
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="tests"
    )
    path.write_bytes(model.SerializeToString())
    return path


def convolutional(
    path: Path,
    *,
    shape: Sequence[int | str] = ("n", 3, 32, 32),
    values: int = 24,
    seed: int = 0,
    stale: bool = False,
    scaled: bool = False,
) -> Path:
    """Writes a convolution, a pool and a dense layer, with random but fixed weights.

    stale: constants are listed as inputs, and so is one that nothing reads, as old exporters do.
    scaled: the file itself brings pixels to -1 to 1.
    """
    rng = np.random.default_rng(seed)
    channels, side = int(shape[1]), 32
    weights = [
        tensor("conv", rng.normal(0, 0.4, (8, channels, 3, 3))),
        tensor("conv_bias", rng.normal(0, 0.1, 8)),
        tensor("dense", rng.normal(0, 0.1, (8 * (side // 4) ** 2, values))),
        tensor("dense_bias", rng.normal(0, 0.1, values)),
    ]
    nodes = [
        helper.make_node(
            "Conv", ["scaled", "conv", "conv_bias"], ["maps"], pads=[1, 1, 1, 1], strides=[2, 2]
        ),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node(
            "AveragePool", ["positive"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "dense", "dense_bias"], ["y"]),
    ]
    if scaled:
        weights += [tensor("middle", [127.5]), tensor("step", [1 / 128])]
        nodes = [
            helper.make_node("Sub", ["x", "middle"], ["centred"]),
            helper.make_node("Mul", ["centred", "step"], ["scaled"]),
            *nodes,
        ]
    else:
        nodes[0].input[0] = "x"
    further = [helper.make_tensor_value_info(each.name, REAL, list(each.dims)) for each in weights]
    further.append(helper.make_tensor_value_info("nobody_reads", REAL, [4]))
    return saved(path, nodes, weights, shape=shape, further_inputs=further if stale else ())


def identity(path: Path, *, shape: Sequence[int | str]) -> Path:
    """Writes an encoder that gives its input."""
    return saved(path, [helper.make_node("Identity", ["x"], ["y"])], shape=shape)


def mean_colour(path: Path) -> Path:
    """Writes an encoder of three values: how red, green and blue a picture is."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["y"]),
    ]
    return saved(path, nodes)
