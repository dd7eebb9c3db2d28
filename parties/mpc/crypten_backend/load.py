"""Import CrypTen 0.4.1 on a current Python, and switch off everything that must not be used.

Three facts need a change (docs/adr/0002):

* Its ONNX converter needs a torch module that no longer exists. A stub replaces it.
* Its tuple providers hand every mask to party 0 (TFP) or draw masks from a generator that anybody
  can clone (TTP). Neither can be selected here.
* Its pseudo-random zero shares come from torch generators. Between two parties these zero shares
  hide nothing, since both know both seeds; the masks of the tuples hide the secrets. So here they
  are plain zeros, and no torch generator is ever seeded.

Import CrypTen's names from this module, never from crypten itself.
"""

import sys
import types
from typing import Any

import torch

if "torch.onnx.symbolic_registry" not in sys.modules:
    _stub = types.ModuleType("torch.onnx.symbolic_registry")
    _stub.__dict__["_registry"] = {}
    sys.modules["torch.onnx.symbolic_registry"] = _stub

import crypten
import crypten.communicator
import crypten.mpc
from crypten.communicator import Communicator
from crypten.mpc import MPCTensor
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor, beaver
from crypten.mpc.provider.provider import TupleProvider

__all__ = [
    "ArithmeticSharedTensor",
    "BinarySharedTensor",
    "Communicator",
    "MPCTensor",
    "TupleProvider",
    "beaver",
    "use",
]


def _arithmetic_zeros(*size: Any, device: Any = None) -> Any:
    return ArithmeticSharedTensor.from_shares(torch.zeros(*size, dtype=torch.long), precision=0)


def _binary_zeros(*size: Any, device: Any = None) -> Any:
    return BinarySharedTensor.from_shares(torch.zeros(*size, dtype=torch.long), precision=0)


def _refuse_local_truncation(self: Any, divisor: Any) -> Any:
    # Dividing both shares locally is off by 2^64 / divisor with probability |x| / 2^64.
    raise TypeError("CrypTen's two-party division is off: use the engine's truncate")


def use(communicator: type[Any], provider: Any) -> None:
    """Make CrypTen send through `communicator` and draw tuples from `provider` only."""
    crypten.communicator.DistributedCommunicator = communicator
    crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"].clear()
    crypten.mpc.get_default_provider = lambda: provider
    ArithmeticSharedTensor.PRZS = staticmethod(_arithmetic_zeros)
    BinarySharedTensor.PRZS = staticmethod(_binary_zeros)
    ArithmeticSharedTensor.div_ = _refuse_local_truncation
