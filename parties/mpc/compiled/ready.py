"""What callers of kernels ask first: are there any here? Loads no compiler.

Servers compile kernels when they start (compiler.py). Elsewhere, and for tensors that are not in
this computer's memory, torch does the same.
"""

import numpy as np
import torch

from privedge.sharing.ring import Words


class State:
    """What `compiler.prepare` found out. One for the process, like the code that it compiles."""

    compiled = False
    torch_is_faster = False


def usable(*tensors: torch.Tensor) -> bool:
    """Whether kernels are compiled and all these tensors are in this computer's memory."""
    return State.compiled and all(tensor.is_cpu for tensor in tensors)


def wide_by_torch() -> bool:
    """Whether torch multiplies wide matrices faster than kernels do (choice.py)."""
    return State.torch_is_faster


def words(tensor: torch.Tensor) -> Words:
    """The same words as a kernel takes them: uint64 in C order.

    They share the tensor's memory if it is in C order, as all are that a kernel writes to.
    """
    array: Words = tensor.contiguous().numpy().view(np.uint64)
    return array
