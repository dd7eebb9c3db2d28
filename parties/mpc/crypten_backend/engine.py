"""A RAN as a CrypTen program: mpc.engine.Engine whose numbers are CrypTen's tensors.

Numbers are ArithmeticSharedTensors, which is what an MPCTensor holds. Each operation is CrypTen's
own where CrypTen has it, and so goes through the table of install.py to the protocols that run on
this thread. The rest has no name in CrypTen: choices, the lesser of two rows, several products in
one round, convolutions of all owners at once, and words of fewer bits. Numbers are whole (an
encoder of scale 1), because network.py keeps the scales itself.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from parties.mpc.crypten_backend import running
from parties.mpc.crypten_backend.install import install
from parties.mpc.crypten_backend.load import ArithmeticSharedTensor
from parties.mpc.crypten_backend.marks import Mark
from parties.mpc.crypten_backend.reference import Reference
from parties.mpc.crypten_backend.tensors import REAL, made, whole, wrapped
from parties.mpc.engine import Weight
from parties.mpc.products import Map
from parties.mpc.session import Session
from parties.mpc.window import PLAIN, Window
from privedge.sharing.fixed_point import FRACTIONAL_BITS

Number = Any  # ArithmeticSharedTensor; CrypTen is untyped


class ProgramEngine:
    """mpc.engine.Engine over secret shares, which has the shapes. One per thread at a time."""

    def __init__(self, protocols: Reference) -> None:
        install()
        running.attach(protocols)
        self._protocols = protocols

    @property
    def session(self) -> Session:
        """The session in which this engine computes."""
        return self._protocols.session

    @property
    def party(self) -> int:
        """0 or 1: whose shares its numbers are."""
        return self.session.party

    def close(self) -> None:
        """Detach the session from this thread."""
        running.detach()

    @staticmethod
    def share(words: torch.Tensor) -> Number:
        """Wrap this party's share (int64 of any shape)."""
        return whole(words)

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
        return ArithmeticSharedTensor.cat(parts, dim)

    def multiply(self, x: Number, y: Number) -> Number:
        return x * y

    def square(self, x: Number) -> Number:
        return x.square()

    def truncated_square(self, x: Number) -> Number:
        return whole(_late(x).square()._tensor)

    def dense(self, x: Number, weight: Weight[Number]) -> Number:
        return x.matmul(_marked(weight).transpose(1, 2))

    def dense_back(self, x: Number, weight: Weight[Number]) -> Number:
        return x.matmul(_marked(weight))

    def truncate(self, x: Number, *, bits: int = FRACTIONAL_BITS) -> Number:
        # Whatever reads a late value truncates it.
        return whole(made(x._tensor, x.encoder, bits).share)

    def relu_and_value(self, x: Number) -> tuple[Number, Number]:
        positive, value = wrapped(_late(x)).relu_and_value()
        return whole(positive._tensor._tensor), whole(value._tensor._tensor)

    def negative(self, x: Number, *, bits: int = 63) -> Number:
        return wrapped(x)._ltz(bits)._tensor

    # --- Operations that it has not ---

    def dense_each(self, x: Number, weights: list[Weight[Number]]) -> list[Number]:
        return self._products("dense", x, weights)

    def convolve(self, x: Number, weight: Weight[Number], window: Window) -> Number:
        return self._products("conv", x, [weight], window)[0]

    def _products(
        self, kind: Map, x: Number, weights: list[Weight[Number]], window: Window = PLAIN
    ) -> list[Number]:
        named = [Weight(weight.name, weight.number._tensor) for weight in weights]
        return [whole(words) for words in self._protocols.products(kind, x._tensor, named, window)]

    def widened(self, x: Number, *, bits: int) -> Number:
        return whole(self._protocols.widened(x._tensor, bits=bits))

    def chosen(
        self, index: Number, values: Number, *, below: int, places: int
    ) -> tuple[Number, Number]:
        hot, products = self._protocols.chosen(
            index._tensor, values._tensor, below=below, places=places
        )
        return whole(hot), whole(products)

    def lesser(self, first: Number, second: Number, *, bits: int) -> tuple[Number, Number, Number]:
        found = self._protocols.lesser(first._tensor, second._tensor, bits=bits)
        row, greater, later = map(whole, found)
        return row, greater, later

    def phase(self, name: str) -> AbstractContextManager[None]:
        return self._protocols.phase(name)

    def constant(self, name: str, compute: Callable[[], Number]) -> Number:
        return whole(self._protocols.constant(name, lambda: compute()._tensor))


class CryptenEngine(ProgramEngine):
    """The reference: CrypTen's operations, carried out by CrypTen's own protocols."""

    def __init__(self, session: Session) -> None:
        super().__init__(Reference(session))


def _late(x: Number) -> Number:
    """Words at 2f, as the product of two numbers at f that is still to be truncated."""
    return made(x._tensor, REAL, FRACTIONAL_BITS)


def _marked(weight: Weight[Number]) -> Number:
    """The weight, marked under its name: its form never changes while its mask is kept."""
    share = weight.number
    if share._mark is None:
        words = share._tensor
        share._mark = Mark(weight.name, words, words, words._version, known_as=weight.name)
    return share
