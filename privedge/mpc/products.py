"""The bilinear maps of a layer on plain int64 tensors: shares, masks and openings alike.

N owners' weights meet an input that is the owners' own (G = N) or common to all (G = 1).

torch multiplies 64-bit integers well (8 to 16 products a nanosecond) if both operands are wide, and
ten times slower if one is not. The two narrow cases that matter have a way of their own here. How
fast each is depends on nothing but shapes, so it tells nothing about the operands.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

Map = Literal["dense", "dense_back", "conv"]

# Words of a weight that are handled at once; a run of owners has no more, unless one owner has.
RUN_WORDS = 1 << 22

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
    return apply_by_runs(kind, x, weight.shape, weight.__getitem__, window)


def apply_by_runs(
    kind: Map,
    x: torch.Tensor,
    weight: Sequence[int],
    part: Callable[[slice], torch.Tensor],
    window: Window = PLAIN,
) -> torch.Tensor:
    """The same with a weight of that shape which is nowhere in one piece: `part` gives that of each
    run of owners.
    """
    dim = 1 if kind == "conv" else 0
    shared = x.size(dim) == 1
    done = []
    for run in runs(weight):
        own = x if shared else x.narrow(dim, run.start, run.stop - run.start)
        done.append(_apply(kind, own, part(run), window))
    return done[0] if len(done) == 1 else torch.cat(done, dim)


def runs(weight: Sequence[int]) -> Iterator[slice]:
    """The owners of a weight of shape (N, ...) in runs, each of at most RUN_WORDS words."""
    owners = weight[0]
    step = max(1, RUN_WORDS // max(1, math.prod(weight[1:])))
    return (slice(start, min(start + step, owners)) for start in range(0, owners, step))


def _apply(kind: Map, x: torch.Tensor, weight: torch.Tensor, window: Window) -> torch.Tensor:
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
