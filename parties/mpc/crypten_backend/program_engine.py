"""A RAN as a CrypTen program: mpc.engine.Engine whose numbers are MPCTensors.

Each operation is CrypTen's own where CrypTen has it, and so goes through the table of install.py to
the fused protocols. The rest has no name in CrypTen: exact shifts, choices, several products in one
round, and convolutions of all owners at once. Numbers are whole (an encoder of scale 1), because
network.py keeps the scales itself.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from parties.mpc.crypten_backend.load import FixedPointEncoder, crypten
from parties.mpc.crypten_backend.marks import Mark
from parties.mpc.crypten_backend.running import running
from parties.mpc.crypten_backend.tensors import made, wrapped
from parties.mpc.engine import Weight
from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.session import Session
from parties.mpc.shares import Shared
from parties.mpc.window import Window
from privedge.sharing.fixed_point import FRACTIONAL_BITS

Number = Any  # MPCTensor; CrypTen is untyped

_WHOLE = FixedPointEncoder(precision_bits=0)


def _number(share: Shared) -> Number:
    return wrapped(made(share.share, _WHOLE))


def _shared(x: Number) -> Shared:
    return Shared(x._tensor._tensor)


class ProgramEngine:
    """mpc.engine.Engine over CrypTen's tensors. One per thread at a time."""

    def __init__(self, session: Session, masked: MaskedWeights, *, exact: bool = False) -> None:
        """`exact`: truncation is the floor, as in the clear; else the floor or one unit more."""
        self._fused = FusedEngine(session, masked, exact=exact)
        self._grad, running.grad = running.grad, False

    def close(self) -> None:
        """Detach the session from this thread."""
        running.grad = self._grad
        self._fused.close()

    @staticmethod
    def share(words: torch.Tensor) -> Number:
        """Wrap this party's share (int64 of any shape)."""
        return wrapped(made(words, _WHOLE))

    # --- Operations that CrypTen has ---

    def scaled(self, x: Number, factor: int) -> Number:
        return x * factor

    def combination(self, x: Number, matrix: torch.Tensor) -> Number:
        return x.matmul(matrix)

    def plus(self, x: Number, constant: torch.Tensor) -> Number:
        return x + constant

    def padded(self, x: Number, padding: tuple[int, ...], value: int = 0) -> Number:
        return x.pad(padding, value=value)

    def joined(self, parts: list[Number], dim: int) -> Number:
        return crypten.cat(parts, dim=dim)

    def multiply(self, x: Number, y: Number) -> Number:
        return x * y

    def square(self, x: Number) -> Number:
        return x.square()

    def dense(self, x: Number, weight: Weight[Number]) -> Number:
        return x.matmul(_marked(weight).transpose(1, 2))

    def dense_back(self, x: Number, weight: Weight[Number]) -> Number:
        return x.matmul(_marked(weight))

    def negative(self, x: Number, *, bits: int = 63) -> Number:
        return x._ltz() if bits == 63 else _number(self._fused.negative(_shared(x), bits=bits))

    # --- Operations that it has not ---

    def dense_each(self, x: Number, weights: list[Weight[Number]]) -> list[Number]:
        named = [Weight(weight.name, _shared(weight.number)) for weight in weights]
        return [_number(product) for product in self._fused.dense_each(_shared(x), named)]

    def convolve(self, x: Number, weight: Weight[Number], window: Window) -> Number:
        named = Weight(weight.name, _shared(weight.number))
        return _number(self._fused.convolve(_shared(x), named, window))

    def truncated_square(self, x: Number) -> Number:
        return _number(self._fused.truncated_square(_shared(x)))

    def truncate(self, x: Number, *, bits: int = FRACTIONAL_BITS) -> Number:
        return _number(self._fused.truncate(_shared(x), bits=bits))

    def widened(self, x: Number, *, bits: int) -> Number:
        return _number(self._fused.widened(_shared(x), bits=bits))

    def relu_and_value(self, x: Number) -> tuple[Number, Number]:
        positive, value = self._fused.relu_and_value(_shared(x))
        return _number(positive), _number(value)

    def chosen(
        self, index: Number, values: Number, *, below: int, places: int
    ) -> tuple[Number, Number]:
        hot, products = self._fused.chosen(
            _shared(index), _shared(values), below=below, places=places
        )
        return _number(hot), _number(products)

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self._fused.phase(name)

    def constant(self, name: str, compute: Callable[[], Number]) -> Number:
        return _number(self._fused.constant(name, lambda: _shared(compute())))


def _marked(weight: Weight[Number]) -> Number:
    """The weight, marked under its name: its form never changes while its mask is kept."""
    share = weight.number._tensor
    if share._mark is None or not share._mark.holds(share._tensor):
        words = share._tensor
        share._mark = Mark(weight.name, words, words, words._version, known_as=weight.name)
    return weight.number
