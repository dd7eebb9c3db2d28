"""The fixed-point model in the clear, with which a private run must agree.

Tests, the demo and the bench use it to compare labels. It holds plaintext, so no server imports it.
Its truncation is the floor; a private engine may be one unit higher (docs/protocol.md#truncation).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch

from parties.mpc.engine import Weight
from parties.mpc.products import apply
from parties.mpc.window import Window
from privedge.sharing.fixed_point import FRACTIONAL_BITS


class ClearEngine:
    """mpc.engine.Engine over int64 tensors with wrap-around."""

    def scaled(self, x: torch.Tensor, factor: int) -> torch.Tensor:
        return x * factor

    def combination(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        return x @ matrix

    def plus(self, x: torch.Tensor, constant: torch.Tensor) -> torch.Tensor:
        return x + constant

    def padded(self, x: torch.Tensor, padding: tuple[int, ...], value: int = 0) -> torch.Tensor:
        return torch.nn.functional.pad(x, padding, value=value)

    def joined(self, parts: list[torch.Tensor], dim: int) -> torch.Tensor:
        return torch.cat(parts, dim=dim)

    def multiply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * y

    def square(self, x: torch.Tensor) -> torch.Tensor:
        return x * x

    def truncated_square(self, x: torch.Tensor) -> torch.Tensor:
        return self.square(self.truncate(x))

    def dense(self, x: torch.Tensor, weight: Weight[torch.Tensor]) -> torch.Tensor:
        return apply("dense", x, weight.number)

    def dense_each(
        self, x: torch.Tensor, weights: list[Weight[torch.Tensor]]
    ) -> list[torch.Tensor]:
        return [self.dense(x, weight) for weight in weights]

    def dense_back(self, x: torch.Tensor, weight: Weight[torch.Tensor]) -> torch.Tensor:
        return apply("dense_back", x, weight.number)

    def convolve(
        self, x: torch.Tensor, weight: Weight[torch.Tensor], window: Window
    ) -> torch.Tensor:
        return apply("conv", x, weight.number, window)

    def truncate(self, x: torch.Tensor, *, bits: int = FRACTIONAL_BITS) -> torch.Tensor:
        return x >> bits

    def widened(self, x: torch.Tensor, *, bits: int) -> torch.Tensor:
        return (x << (64 - bits)) >> (64 - bits)

    def relu_and_value(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = self.truncate(x)
        return value.clamp(min=0), value

    def negative(self, x: torch.Tensor, *, bits: int = 63) -> torch.Tensor:
        return (x < 0).long()

    def lesser(
        self, first: torch.Tensor, second: torch.Tensor, *, bits: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        later = (second[:, 0] - first[:, 0] < 0).long()
        row = first + later.unsqueeze(1) * (second - first)
        return row, first[:, 0] + second[:, 0] - row[:, 0], later

    def chosen(
        self, index: torch.Tensor, values: torch.Tensor, *, below: int, places: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hot = torch.stack([(index == place).long() for place in range(places)])
        return hot, hot.unsqueeze(2) * values

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def constant(self, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        return compute()
