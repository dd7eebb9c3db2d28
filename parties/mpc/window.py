"""How a convolution moves over its input: stride, enlargement and padding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input, after enlargement and padding.

    stride: the step along both axes.
    factor: how many times each row and column of the input is repeated.
    padding: the zeros added afterwards: (left, right, above, below).
    """

    stride: int = 1
    factor: int = 1
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def framed(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the shape (..., H', W') of the framed input, for an input of `shape`."""
        *lead, height, width = shape
        left, right, above, below = self.padding
        return (*lead, height * self.factor + above + below, width * self.factor + left + right)

    def frame(self, x: torch.Tensor) -> torch.Tensor:
        """Enlarge and pad x (B, G, C, H, W) for the convolution."""
        x = self.enlarged(x)
        return torch.nn.functional.pad(x, self.padding) if any(self.padding) else x

    def enlarged(self, x: torch.Tensor) -> torch.Tensor:
        """Repeat each row and column of x (B, G, C, H, W) `factor` times."""
        if self.factor == 1:
            return x
        *lead, height, width = x.shape
        spread = x.reshape(*lead, height, 1, width, 1)
        spread = spread.expand(*lead, height, self.factor, width, self.factor)
        return spread.reshape(*lead, height * self.factor, width * self.factor)


PLAIN = Window()


def map_size(size: Sequence[int], kernel: Sequence[int], stride: int) -> list[int]:
    """Return the height and width of the result of a convolution without padding.

    Raises ValueError unless `size` and `kernel` are two-dimensional and the kernel fits.
    """
    if len(size) != 2 or len(kernel) != 2:
        raise ValueError("not two-dimensional")
    maps = [(n - k) // stride + 1 for n, k in zip(size, kernel, strict=True)]
    if min(maps) < 1:
        raise ValueError("the kernel is larger than its input")
    return maps
