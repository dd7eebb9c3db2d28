"""What a network and a decision are written in: one formula, several number types.

The same forward pass (network.py) and the same decision (decision.py) run on clear integers
(lab/privedge_lab/reference/clear.py) and, as a CrypTen program, on shares
(crypten_backend/engine.py).
All numbers are ring elements; "at f" means scale 2^16, "at 2f" scale 2^32 (after one product).
Outside the ranges stated here results are wrong, and nobody is told (docs/protocol.md#ranges).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, overload

import torch

from parties.mpc.window import Window
from privedge.sharing.fixed_point import FRACTIONAL_BITS


class Number(Protocol):
    """What clear tensors and CrypTen's ArithmeticSharedTensor have in common. All local."""

    @overload
    def size(self) -> torch.Size: ...
    @overload
    def size(self, dim: int) -> int: ...
    def __add__(self, other: Any) -> Any: ...
    def __sub__(self, other: Any) -> Any: ...
    def __getitem__(self, index: Any) -> Any: ...
    def reshape(self, *shape: int) -> Any: ...
    def transpose(self, first: int, second: int) -> Any: ...
    def unsqueeze(self, dim: int) -> Any: ...
    def expand(self, *shape: int) -> Any: ...
    def sum(self, dim: int) -> Any: ...


T = TypeVar("T", bound=Number)


@dataclass(frozen=True)
class Weight(Generic[T]):
    """A model parameter that inputs are multiplied by: the same for every query of a snapshot."""

    name: str
    number: T


class Engine(Protocol[T]):
    """The operations that differ between number types.

    Numbers have any shape unless a shape is given, and results have that of x. Public constants are
    int64 tensors. "Local" means that the parties exchange nothing. In a private engine all other
    operations open values, each under a mask that is used once.
    """

    def scaled(self, x: T, factor: int) -> T:
        """x times a public integer. Local."""

    def combination(self, x: T, matrix: torch.Tensor) -> T:
        """x @ matrix for a public int64 matrix. Local."""

    def plus(self, x: T, constant: torch.Tensor) -> T:
        """x plus public int64 values of a shape that broadcasts to x's. Local."""

    def padded(self, x: T, padding: tuple[int, ...], value: int = 0) -> T:
        """Pad the last dimensions (as torch's pad) with a public value. Local."""

    def joined(self, parts: list[T], dim: int) -> T:
        """Concatenate along `dim`; all other extents are equal. Local."""

    def multiply(self, x: T, y: T) -> T:
        """Element-wise product; scales add. Extents of 1 in y are repeated to x's."""

    def square(self, x: T) -> T:
        """Element-wise square; the scale doubles."""

    def truncated_square(self, x: T) -> T:
        """The square, at 2f, of what `truncate` gives for x at 2f. Needs |x| < 2^62."""

    def dense(self, x: T, weight: Weight[T]) -> T:
        """x (G, B, D) with weight (N, O, D) gives (N, B, O), G being 1 or N; scales add."""

    def dense_each(self, x: T, weights: list[Weight[T]]) -> list[T]:
        """`dense` of the same x (G, B, D) with several weights (N, O, D), in the rounds of one."""

    def dense_back(self, x: T, weight: Weight[T]) -> T:
        """x (N, B, O) with weight (N, O, D) gives (N, B, D): the transposed map; scales add."""

    def convolve(self, x: T, weight: Weight[T], window: Window) -> T:
        """x (B, G, C, H, W) with weight (N, O, C, K, K) gives (B, N, O, H', W').

        The window enlarges and pads x, so that the engine can open x while it is small.
        """

    def truncate(self, x: T, *, bits: int = FRACTIONAL_BITS) -> T:
        """floor(x / 2^bits), or one unit more: from 2f to f by default. Needs |x| < 2^62."""

    def widened(self, x: T, *, bits: int) -> T:
        """What x gives modulo 2^bits, as a ring element y with y = x modulo 2^bits and |y| <
        0.75 * 2^bits. It is the one closest to 0 if that is below 2^(bits - 2).
        """

    def relu_and_value(self, x: T) -> tuple[T, T]:
        """max(x, 0) of x at 2f, and x itself, both truncated to f as `truncate` does."""

    def negative(self, x: T, *, bits: int = 63) -> T:
        """1 where x < 0, else 0, as plain integers. Cheaper if |x| < 2^bits: 16, 23, 31, 39, 48 or
        63 (any x). Outside of that it is 0 or 1 all the same.
        """

    def lesser(self, first: T, second: T, *, bits: int) -> tuple[T, T, T]:
        """Of n pairs of rows (n, c): the row with the lesser first number, or `first` if they are
        equal; the greater first number, (n,); and 1 where the row is `second`, else 0, (n,).
        `bits`: as for `negative` of second - first.
        """

    def chosen(self, index: T, values: T, *, below: int, places: int) -> tuple[T, T]:
        """[index = k] as plain integers, (places, n), and its products with values, (places, n, v),
        for k = 0 .. places - 1; index (n,), values (n, v). Needs 0 <= index < below <= 128.
        """

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Count the exchanges inside under this name."""

    def constant(self, name: str, compute: Callable[[], T]) -> T:
        """A value that depends on the models alone: computed when `name` is first asked for, then
        kept as long as the engine can.
        """
