"""The bilinear maps of a layer on plain int64 tensors: shares, masks and openings alike.

N owners' weights meet an input that is the owners' own (G = N) or common to all (G = 1).
"""

from collections.abc import Sequence
from typing import Literal

import torch

Map = Literal["dense", "dense_back", "conv"]


def apply(kind: Map, x: torch.Tensor, weight: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """The map `kind` of x and weight, shaped as mpc.engine.Engine says; exact in the ring."""
    match kind:
        case "dense":
            return x @ weight.transpose(1, 2)
        case "dense_back":
            return x @ weight
        case "conv":
            return _grouped(x, weight, stride)


def map_size(size: Sequence[int], kernel: Sequence[int], stride: int) -> list[int]:
    """Height and width of what a convolution without padding gives.

    Raises ValueError unless both are two-dimensional and the kernel fits.
    """
    if len(size) != 2 or len(kernel) != 2:
        raise ValueError("not two-dimensional")
    maps = [(n - k) // stride + 1 for n, k in zip(size, kernel, strict=True)]
    if min(maps) < 1:
        raise ValueError("the kernel is larger than its input")
    return maps


def _grouped(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """All owners' convolutions as one of N or of 1 group."""
    batch, groups, channels, *size = x.shape
    owners, out, *kernel = weight.shape
    maps = torch.conv2d(
        x.reshape(batch, groups * channels, *size),
        weight.reshape(owners * out, *kernel),
        stride=stride,
        groups=groups,
    )
    return maps.reshape(batch, owners, out, *maps.shape[2:])
