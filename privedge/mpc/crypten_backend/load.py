"""Import CrypTen 0.4.1 on a current Python, with everything switched off that must not be used.

Three facts (docs/adr/0002): its ONNX converter wants a torch module that is gone, so a stub stands
in; its tuple providers hand every mask to party 0 (TFP) or draw them from a generator anybody can
clone (TTP), so neither can be selected; and its pseudo-random zero shares come from torch
generators. Between two parties those zero shares hide nothing, since both know both seeds: what
hides is the tuples' masks. So here they are plain zeros and no torch generator is ever seeded.

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
    """Make CrypTen talk through `communicator` and draw from `provider`, and from nothing else."""
    crypten.communicator.DistributedCommunicator = communicator
    crypten.mpc.__dict__["__SUPPORTED_PROVIDERS"].clear()
    crypten.mpc.get_default_provider = lambda: provider
    ArithmeticSharedTensor.PRZS = staticmethod(_arithmetic_zeros)
    BinarySharedTensor.PRZS = staticmethod(_binary_zeros)
    ArithmeticSharedTensor.div_ = _refuse_local_truncation
