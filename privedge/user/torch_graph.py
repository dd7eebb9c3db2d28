"""A module of torch as an ONNX file, by torch's exporter of traces. Runs the module's own code."""

import io
import threading
import warnings
from typing import Any

import torch

from privedge.errors import CheckpointError

_OPSET = 17
# torch's exporter keeps what it does in globals.
_one_at_a_time = threading.Lock()


def traced(module: torch.nn.Module, input_shape: tuple[int, ...]) -> bytes:
    """The bytes of the ONNX file of `module`, traced in evaluation mode with one sample of zeros.

    Raises CheckpointError if it cannot be traced.
    """
    # Parts of it may be in training mode and others not.
    modes = [(each, each.training) for each in module.modules()]
    written: Any = io.BytesIO()
    try:
        with _one_at_a_time, warnings.catch_warnings(), torch.no_grad():
            # Each call says that there is a newer exporter, which needs one more package.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.eval(),
                (torch.zeros(1, *input_shape),),
                written,
                dynamo=False,
                input_names=["input"],
                output_names=["output"],
                opset_version=_OPSET,
            )
    except Exception as error:  # the module's own code may raise anything
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"the module cannot be traced: {said:.200}") from error
    finally:
        for each, was in modes:
            each.training = was
    return bytes(written.getvalue())
