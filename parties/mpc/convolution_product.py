"""Triples for every convolution that a CrypTen program may ask for.

tuples.Product has the convolution of an image without padding, by one stride. Programs also use
one dimension, transposed convolutions, and a stride, padding and dilation for each axis. Sizes are
those of torch.nn.functional.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch

from parties.mpc.tuples import Shape, Sharing
from privedge.errors import ShareError

ConvolutionOp = Literal["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]

# How many axes each operation moves along.
AXES: dict[str, int] = {"conv1d": 1, "conv2d": 2, "conv_transpose1d": 1, "conv_transpose2d": 2}

# Of every option, along every axis, and of a kernel's extent: deny by default.
MOST = 64


@dataclass(frozen=True)
class ConvolutionProduct:
    """a, b uniform; c = a (op) b. Beaver's triple for a convolution of a batch, (B, C, ...).

    The options have an entry for each axis. `more` is torch's output_padding, for transposed
    convolutions only.
    """

    op: ConvolutionOp
    left: Shape
    right: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int
    more: Shape

    def __post_init__(self) -> None:
        axes = AXES[self.op]
        options = [self.stride, self.padding, self.dilation, self.more]
        if any(len(option) != axes for option in options):
            raise ShareError(f"{self.op} tuple: options need {axes} entries each")
        if not all(0 <= entry <= MOST for option in options for entry in option):
            raise ShareError(f"{self.op} tuple: options are from 0 to {MOST}")
        if min(*self.stride, *self.dilation, self.groups) < 1:
            raise ShareError(f"{self.op} tuple: stride, dilation and groups are positive")
        if any(self.more) and not self.transposed:
            raise ShareError(f"{self.op} tuple: it has no padding of its output")
        if any(
            m >= max(s, d) for m, s, d in zip(self.more, self.stride, self.dilation, strict=True)
        ):
            raise ShareError(f"{self.op} tuple: more output padding than stride and dilation")
        if len(self.left) != axes + 2 or len(self.right) != axes + 2:
            raise ShareError(f"{self.op} tuple: both factors need {axes + 2} dimensions")
        if max(self.right[2:]) > MOST:
            raise ShareError(f"{self.op} tuple: a kernel has at most {MOST} entries along an axis")

    @property
    def transposed(self) -> bool:
        return "transpose" in self.op

    @property
    def purpose(self) -> str:
        options = f"{self.stride} {self.padding} {self.dilation} {self.groups} {self.more}"
        return f"{self.op} {self.left} {self.right} {options}"

    @property
    def free(self) -> list[Shape]:
        return [self.left, self.right]

    @property
    def derived(self) -> list[Shape]:
        size = self._size()
        channels = self.left[1]
        first, second = self.right[:2]
        wide = second * self.groups
        expected, out = (first, wide) if self.transposed else (wide, first)
        if channels != expected or first % self.groups or min(size) < 1:
            raise ShareError(f"no such product: {self.purpose}")
        return [(self.left[0], out, *size)]

    @property
    def unfolded(self) -> Shape:
        """Shape of what torch unfolds one entry of the batch to."""
        taps = math.prod(self.right[2:])
        if self.transposed:
            return (self.right[1] * self.groups * taps, math.prod(self.left[2:]))
        return (self.left[1] * taps, math.prod(self._size()))

    @property
    def free_sharing(self) -> list[Sharing]:
        return ["additive", "additive"]

    @property
    def derived_sharing(self) -> list[Sharing]:
        return ["additive"]

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        return [self.apply(*masks)]

    def apply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x (op) y, int64 of the shapes `left` and `right`; exact in the ring."""
        options = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        if self.transposed:
            options["output_padding"] = self.more
        function = getattr(torch, self.op)
        return cast(torch.Tensor, function(x, y, groups=self.groups, **options))

    def _size(self) -> list[int]:
        """Extents of the result along each axis; below 1 if the kernel does not fit."""
        axes = zip(
            *(self.left[2:], self.right[2:], self.stride, self.padding, self.dilation, self.more),
            strict=True,
        )
        if self.transposed:
            return [(n - 1) * s - 2 * p + d * (k - 1) + m + 1 for n, k, s, p, d, m in axes]
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d, _ in axes]
