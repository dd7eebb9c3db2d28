"""How a convolution walks its input."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch


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
        x = self.enlarged(x)
        return torch.nn.functional.pad(x, self.padding) if any(self.padding) else x

    def enlarged(self, x: torch.Tensor) -> torch.Tensor:
        """x (B, G, C, H, W) with each row and column repeated."""
        if self.factor == 1:
            return x
        *lead, height, width = x.shape
        spread = x.reshape(*lead, height, 1, width, 1)
        spread = spread.expand(*lead, height, self.factor, width, self.factor)
        return spread.reshape(*lead, height * self.factor, width * self.factor)


PLAIN = Window()


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
