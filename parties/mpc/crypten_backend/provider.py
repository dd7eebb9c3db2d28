"""CrypTen's tuple provider, fed by the dealer: masks from AES-CTR, corrections from the stream."""

from typing import Any

import torch

from parties.mpc.crypten_backend.communicator import SessionCommunicator
from parties.mpc.crypten_backend.load import (
    ArithmeticSharedTensor,
    BinarySharedTensor,
    TupleProvider,
)
from parties.mpc.tuples import And, Bit, Product, Square, Truncation, TupleKind
from privedge.errors import NotReady


def _draw(kind: TupleKind) -> list[torch.Tensor]:
    shares = SessionCommunicator.session().tuples.draw(kind)
    return [*shares.free, *shares.derived]


def _additive(share: torch.Tensor) -> Any:
    return ArithmeticSharedTensor.from_shares(share, precision=0)


def _xor(share: torch.Tensor) -> Any:
    return BinarySharedTensor.from_shares(share, precision=0)


class DealerProvider(TupleProvider):  # type: ignore[misc]  # CrypTen is untyped
    """The tuples that CrypTen's beaver.py needs, and the truncation tuple of our engine."""

    def generate_additive_triple(
        self, size0: Any, size1: Any, op: str, device: Any = None, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any, Any]:
        if op not in ("mul", "matmul", "conv2d") or args:
            raise NotReady(f"no tuple for {op}")
        # mypy cannot narrow a str by `in`.
        kind = Product(op, tuple(size0), tuple(size1), **kwargs)  # type: ignore[arg-type]
        a, b, c = _draw(kind)
        return _additive(a), _additive(b), _additive(c)

    def square(self, size: Any, device: Any = None) -> tuple[Any, Any]:
        r, r2 = _draw(Square(tuple(size)))
        return _additive(r), _additive(r2)

    def generate_binary_triple(
        self, size0: Any, size1: Any, device: Any = None
    ) -> tuple[Any, Any, Any]:
        if tuple(size0) != tuple(size1):
            raise NotReady("binary products need equal shapes")
        a, b, c = _draw(And(tuple(size0)))
        return _xor(a), _xor(b), _xor(c)

    def B2A_rng(self, size: Any, device: Any = None) -> tuple[Any, Any]:
        word, bit = _draw(Bit(tuple(size)))
        return _additive(bit), _xor(word & 1)

    def wrap_rng(self, size: Any, device: Any = None) -> Any:
        raise NotReady("wrap counts are for three parties; two use the engine's truncate")

    def truncation(self, shape: torch.Size, bits: int) -> list[torch.Tensor]:
        """Draw shares of r, -(r >> bits) and r[63], each int64 of `shape`."""
        return _draw(Truncation(tuple(shape), bits))
