"""crypten.nn.from_pytorch on a current torch: by torch's exporter of traces.

torch's newer exporter wants the package onnxscript and knows nothing of CrypTen's own symbols for
softmax and dropout. CrypTen registers those with this one
(docs/adr/0002-crypten-on-current-python.md).
"""

import io
import threading
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

_OPSET = 17
# torch's exporter keeps what it does in globals.
_one_at_a_time = threading.Lock()


def export(f: io.BytesIO, pytorch_model: torch.nn.Module, dummy_input: Any) -> io.BytesIO:
    """Write the ONNX graph of a model of torch, traced with `dummy_input`, to `f`."""
    traced: Any = io.BytesIO()
    with _one_at_a_time, warnings.catch_warnings():
        # Each call says that there is a newer exporter.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            pytorch_model,
            dummy_input,
            traced,
            dynamo=False,
            do_constant_folding=False,
            export_params=True,
            input_names=["input"],
            output_names=["output"],
            opset_version=_OPSET,
        )
    model = onnx.load_model_from_string(traced.getvalue())
    _give_each_its_own(model.graph)
    f.write(model.SerializeToString())
    return f


def _give_each_its_own(graph: onnx.GraphProto) -> None:
    """Parameters that are equal are one in what torch writes, and the others name it. CrypTen does
    not know that operation, and would train them as one.
    """
    parameters = {each.name: each for each in graph.initializer}
    for node in list(graph.node):
        if node.op_type == "Identity" and node.input[0] in parameters:
            own = graph.initializer.add()
            own.CopyFrom(parameters[node.input[0]])
            own.name = node.output[0]
            graph.node.remove(node)


class Writable:
    """onnx.numpy_helper, but a parameter may be written to: torch may do so in place."""

    @staticmethod
    def to_array(tensor: onnx.TensorProto) -> Any:
        """The values of a tensor of a graph, as an array of their own."""
        return np.array(numpy_helper.to_array(tensor))
