"""The correlated randomness of the fused comparison and ReLU (protocol.md 5). Dealer: all of it;
party: its shares.

Both open c = x + r and find the sign of x from c and the secret r. Parts, for n elements packed
into W words a bit (packing.py):

    free      r (n), additive; t (W) and the masks of the tree, XOR
    derived   tables of r's nibbles and products of the tree's masks, XOR; numbers (k, n), additive

t is rho ^ r[bits], with a uniform bit rho for each element: t is drawn, rho follows from it.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch

from privedge.errors import ShareError
from privedge.mpc.fused import tree
from privedge.mpc.fused.packing import planes, spread, top_bit, words_for
from privedge.mpc.tuples import Shape, Sharing, logical_shift

# How many low bits the tree may compare, and of how many nibbles it is made for them. The sign of x
# is right if -2^bits <= x < 2^bits. With 63 bits that is every ring element.
NIBBLES = {16: 4, 32: 8, 48: 12, 63: 16}


class SignTuple:
    """What comparison and ReLU have in common."""

    shape: Shape

    @property
    @abstractmethod
    def compared(self) -> int:
        """How many low bits are compared: a key of NIBBLES."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many arithmetic values are derived for each element."""

    @abstractmethod
    def arithmetic(self, r: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
        """Those values, (numbers, n). Dealer only."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def levels(self) -> tuple[tree.Level, ...]:
        return tree.levels(NIBBLES[self.compared])

    @property
    def mask_sizes(self) -> list[int]:
        """Rows of the XOR-shared free part: t, then the masks of each level."""
        return [1, *(level.mask_rows for level in self.levels)]

    @property
    def product_sizes(self) -> list[int]:
        """Rows of the XOR-shared derived part: the tables, then the products of each level."""
        tables = tree.TABLE * NIBBLES[self.compared]
        return [tables, *(level.product_rows for level in self.levels)]

    @property
    def free(self) -> list[Shape]:
        return [(self.elements,), (sum(self.mask_sizes), words_for(self.elements))]

    @property
    def derived(self) -> list[Shape]:
        words = (sum(self.product_sizes), words_for(self.elements))
        return [words, (self.numbers, self.elements)]

    @property
    def free_sharing(self) -> list[Sharing]:
        return ["additive", "xor"]

    @property
    def derived_sharing(self) -> list[Sharing]:
        return ["xor", "additive"]

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        r, words = masks
        rows = planes(r)
        sign = rows[self.compared].clone()
        clear_above(rows, self.compared)
        (t,), *of_levels = torch.split(words, self.mask_sizes)
        nibbles = NIBBLES[self.compared]
        parts = [tree.tables(tree.nibble_planes(rows, nibbles)).reshape(-1, rows.size(1))]
        parts += [level.products(mask) for level, mask in zip(self.levels, of_levels, strict=True)]
        return [torch.cat(parts), self.arithmetic(r, spread(t ^ sign, r.numel()))]


@dataclass(frozen=True)
class Comparison(SignTuple):
    """For [x < 0], -2^bits <= x < 2^bits. Numbers: rho."""

    shape: Shape
    bits: int

    def __post_init__(self) -> None:
        if self.bits not in NIBBLES:
            raise ShareError(f"comparison tuple: bits must be one of {sorted(NIBBLES)}")

    @property
    def purpose(self) -> str:
        return f"comparison {self.shape} {self.bits}"

    @property
    def compared(self) -> int:
        return self.bits

    @property
    def numbers(self) -> int:
        return 1

    def arithmetic(self, r: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
        return rho.unsqueeze(0)


@dataclass(frozen=True)
class FusedRelu(SignTuple):
    """For max(x, 0) and for x itself, both shifted right by `bits`, -2^48 <= x < 2^48.

    Numbers: rho, s0, s1, rho * s0, rho * s1 with s0 = -(r >> bits), s1 = s0 + r[63] 2^(64 - bits).
    """

    shape: Shape
    bits: int

    MAGNITUDE = 48

    def __post_init__(self) -> None:
        if not 1 <= self.bits < self.MAGNITUDE:
            raise ShareError(f"relu tuple: between 1 and {self.MAGNITUDE - 1} bits")

    @property
    def purpose(self) -> str:
        return f"relu {self.shape} {self.bits}"

    @property
    def compared(self) -> int:
        return self.MAGNITUDE

    @property
    def numbers(self) -> int:
        return 5

    def arithmetic(self, r: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
        numbers = r.new_empty(self.numbers, r.numel())
        numbers[0] = rho
        torch.neg(logical_shift(r, self.bits), out=numbers[1])
        torch.add(numbers[1], top_bit(r) << (64 - self.bits), out=numbers[2])
        torch.mul(numbers[1:3], rho, out=numbers[3:5])
        return numbers


def clear_above(rows: torch.Tensor, compared: int) -> None:
    """Blank, in place, the bit planes that only fill up the top nibble (63 bits: plane 63)."""
    rows[compared : tree.NIBBLE * NIBBLES[compared]] = 0
