"""The bilinear maps of a layer on plain int64 tensors: shares, masks and openings alike.

N owners' weights meet an input that is the owners' own (G = N) or common to all (G = 1).

torch multiplies 64-bit integers well (8 to 16 products a nanosecond) if both operands are wide, and
ten times slower if one is not. The two narrow cases that matter have a way of their own here. How
fast each is depends on nothing but shapes, so it tells nothing about the operands.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

Map = Literal["dense", "dense_back", "conv"]

# Below these, the other way is quicker on x86-64 with AVX-512.
_FEW_ROWS = 16
_FEW_MAPS = 6


@dataclass(frozen=True)
class Window:
    """How a convolution walks its input, once each row and column of that is repeated `factor`
    times and zeros are put around: left, right, above, below.
    """

    stride: int = 1
    factor: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def framed(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape (..., H, W) of what is convolved, for an input of this shape."""
        *lead, height, width = shape
        left, right, above, below = self.padding
        return (*lead, height * self.factor + above + below, width * self.factor + left + right)

    def frame(self, x: torch.Tensor) -> torch.Tensor:
        """What is convolved: x (B, G, C, H, W) enlarged and padded."""
        if self.factor > 1:
            *lead, height, width = x.shape
            spread = x.reshape(*lead, height, 1, width, 1)
            spread = spread.expand(*lead, height, self.factor, width, self.factor)
            x = spread.reshape(*lead, height * self.factor, width * self.factor)
        return torch.nn.functional.pad(x, self.padding) if any(self.padding) else x


PLAIN = Window()


def apply(kind: Map, x: torch.Tensor, weight: torch.Tensor, window: Window = PLAIN) -> torch.Tensor:
    """The map `kind` of x and weight, shaped as mpc.engine.Engine says; exact in the ring."""
    match kind:
        case "dense":
            few = x.size(1) < _FEW_ROWS
            return _row_by_row(x, weight) if few else x @ weight.transpose(1, 2)
        case "dense_back":
            return x @ weight
        case "conv":
            few = window.stride == 1 and weight.size(1) < _FEW_MAPS
            framed = window.frame(x)
            if few:
                return _tap_by_tap(framed, weight)
            return _grouped(framed, weight, window.stride)


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


def _row_by_row(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The dense map as inner products of rows: reads a weight at the speed of memory."""
    # Unsigned: there wrap-around is defined, not an accident.
    left = x.expand(weight.size(0), -1, -1).numpy().view(np.uint64)
    right = weight.numpy().view(np.uint64)
    return torch.from_numpy(np.einsum("nbi,noi->nbo", left, right).view(np.int64))


def _tap_by_tap(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The convolution with stride 1: each of the kernel's taps for the whole image, then the sum
    of the results, each shifted by the place of its tap.
    """
    batch, groups, channels, *size = x.shape
    owners, out, _, *kernel = weight.shape
    height, width = map_size(size, kernel, 1)
    taps = weight.permute(0, 3, 4, 1, 2).reshape(owners, -1, channels)
    whole = taps @ x.reshape(batch, groups, channels, -1)
    whole = whole.reshape(batch, owners, *kernel, out, *size)
    maps = whole.new_zeros(batch, owners, out, height, width)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            shifted = whole[:, :, row, column, :, row : row + height, column : column + width]
            maps += shifted
    return maps
