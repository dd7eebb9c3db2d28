"""Import CrypTen 0.4.1 on a current Python.

Its ONNX converter needs a torch module that no longer exists. A stub replaces it (docs/adr/0002).
What must not be used of CrypTen is replaced by install.py.

Import CrypTen's names from this module, never from crypten itself.
"""

import sys
import types

if "torch.onnx.symbolic_registry" not in sys.modules:
    _stub = types.ModuleType("torch.onnx.symbolic_registry")
    _stub.__dict__["_registry"] = {}
    sys.modules["torch.onnx.symbolic_registry"] = _stub

import crypten
import crypten.communicator
import crypten.config
import crypten.mpc
import crypten.mpc.context
import crypten.nn
from crypten.common import rng
from crypten.common.functions import maximum
from crypten.communicator import Communicator
from crypten.config.config import CrypTenConfig
from crypten.cryptensor import CrypTensor, CrypTensorMetaclass
from crypten.encoder import FixedPointEncoder
from crypten.gradients import get_grad_fn
from crypten.mpc import MPCTensor, ptype
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor, beaver
from crypten.mpc.provider.provider import TupleProvider
from crypten.nn import onnx_converter

__all__ = [
    "ArithmeticSharedTensor",
    "BinarySharedTensor",
    "Communicator",
    "CrypTenConfig",
    "CrypTensor",
    "CrypTensorMetaclass",
    "FixedPointEncoder",
    "MPCTensor",
    "TupleProvider",
    "beaver",
    "crypten",
    "get_grad_fn",
    "maximum",
    "onnx_converter",
    "ptype",
    "rng",
    "sign_by_circuit",
]

# CrypTen's own comparison: the sign bit of a sum that a circuit of ANDs computes.
sign_by_circuit = MPCTensor._ltz
