"""A role that only counts the transfers which a recipe takes."""

from collections.abc import Sequence

import numpy as np

from parties.mpc.prg import KEY_BYTES, KeyStream
from parties.mpc.twoparty.lookup import Lookup
from parties.mpc.twoparty.role import Bit, Later, Role
from privedge.sharing.ring import RING_BITS, Words


class Counter(Role):
    """Zeros for everything, of one word."""

    leads = True

    def __init__(self) -> None:
        super().__init__(1, 0, 0, KeyStream(bytes(KEY_BYTES)))
        self.forward = 0
        self.reverse = 0

    def bits(self, count: int, *, both: bool = False) -> list[Bit]:
        self.forward += count
        self.reverse += count * both
        return [Bit(np.zeros(1, np.uint64)) for _ in range(count)]

    def ring(self, bit: Bit, bits: int) -> Words:
        return self.zero

    def lookups(self, wanted: Sequence[tuple[Sequence[Bit], Lookup]]) -> list[Words]:
        return [np.zeros((len(form.products), 1), np.uint64) for _, form in wanted]

    def times(self, bit: Bit, numbers: Sequence[Words], bits: Sequence[int]) -> Later:
        return lambda: [self.zero for _ in numbers]

    def crossed(self, number: Words) -> Later:
        self.reverse += RING_BITS - 1
        return lambda: [self.zero]

    def scaled(self, bits: Sequence[Bit], number: Words) -> Later:
        return lambda: [self.zero]

    def squared(self) -> tuple[Words, Words]:
        self.forward += RING_BITS - 1
        return self.zero, self.zero

    def numbers(self, planes: Words, numbers: Sequence[Words]) -> Later:
        self.reverse += 1
        self.forward += bool(numbers)
        return lambda: [self.zero, *(self.zero for _ in numbers)]
