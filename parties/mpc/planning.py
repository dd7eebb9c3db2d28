"""Which tuples a run takes, found without the other party, a dealer or any data.

A run's tuples depend on shapes alone. So one party runs the program by itself, on zeros: what it
sends comes back to it, and all tuples are zeros.
"""

from collections.abc import Callable
from typing import Any

import torch

from parties.mpc.dealing import Ahead, SessionId, TupleShares
from parties.mpc.fixed_product import FixedProduct, FixedWeight, MaskedWeights
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.release import NONCE_BYTES, ReleaseKey
from parties.mpc.session import Session
from parties.mpc.tuples import TupleKind

_SESSION = bytes(16)


class _Zeros:
    """A Supply of zeros, that notes what it is asked for."""

    def __init__(self) -> None:
        self.run = SessionId(_SESSION)
        self.used: list[TupleKind] = []

    def draw(self, kind: TupleKind) -> TupleShares:
        self.used.append(kind)
        return TupleShares(*([_zeros(shape) for shape in of] for of in (kind.free, kind.derived)))

    def product(self, kind: FixedProduct, weight: FixedWeight) -> Ahead:
        self.used.append(kind)
        return _zeros(kind.input), _zeros(kind.derived[0])


class _Echo:
    """The other party, for shapes: it sends what it got."""

    def exchange(self, payload: bytes) -> bytearray:
        return bytearray(payload)


def planned(
    program: Callable[[FusedEngine], Any], *, exact: bool = False
) -> tuple[list[TupleKind], list[TupleKind]]:
    """The tuples of the first run of `program` with an engine, in which it also computes what
    depends on weights alone (Engine.constant), and of every later one.
    """
    masked = MaskedWeights.fresh(_SESSION)
    return _used(program, masked, exact), _used(program, masked, exact)


def _used(
    program: Callable[[FusedEngine], Any], masked: MaskedWeights, exact: bool
) -> list[TupleKind]:
    supply = _Zeros()
    key = ReleaseKey((bytes(NONCE_BYTES), bytes(NONCE_BYTES)), _SESSION)
    engine = FusedEngine(Session(0, _Echo(), supply, key), masked, exact=exact)
    try:
        program(engine)
    finally:
        engine.close()
    return supply.used


def _zeros(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int64)
