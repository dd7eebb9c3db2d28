"""The correlated randomness a party may ask for, and what each kind is made of.

A tuple consists of free masks, uniform at both parties, and of derived values, which are functions
of the opened masks. Both parties expand their shares of the free masks from their own streams. Of
a derived value one party, the receiver, gets its share from the dealer as a correction; the other
one expands it too. So each correction crosses once, to one party (protocol.md 3).

This is the whole list: there is no other way to name an operation to the dealer.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch

from privedge.errors import LimitExceeded, ShareError
from privedge.mpc.window import map_size

Shape = tuple[int, ...]
Sharing = Literal["additive", "xor"]


class TupleKind(Protocol):
    """One kind of tuple with its shapes."""

    @property
    def purpose(self) -> str:
        """Canonical text: kind and shapes. Part of every mask's key and of the transcript."""

    @property
    def free(self) -> list[Shape]:
        """Shapes of the free masks."""

    @property
    def derived(self) -> list[Shape]:
        """Shapes of the derived values."""

    @property
    def free_sharing(self) -> list[Sharing]:
        """How the shares of each free mask combine."""

    @property
    def derived_sharing(self) -> list[Sharing]:
        """How the shares of each derived value combine."""

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        """The derived values, from the opened free masks. Dealer only."""


@dataclass(frozen=True)
class Product:
    """a, b uniform; c = a (op) b. Beaver's triple for mul, matmul and conv2d."""

    op: Literal["mul", "matmul", "conv2d"]
    left: Shape
    right: Shape
    stride: int = 1
    groups: int = 1

    @property
    def purpose(self) -> str:
        return f"{self.op} {self.left} {self.right} {self.stride} {self.groups}"

    @property
    def free(self) -> list[Shape]:
        return [self.left, self.right]

    @property
    def derived(self) -> list[Shape]:
        # By arithmetic: torch's meta device would do, but loads 60 MB and takes two seconds.
        try:
            return [self._convolved() if self.op == "conv2d" else self._multiplied()]
        except (IndexError, ValueError):
            raise ShareError(f"no such product: {self.purpose}") from None

    @property
    def free_sharing(self) -> list[Sharing]:
        return ["additive", "additive"]

    @property
    def derived_sharing(self) -> list[Sharing]:
        return ["additive"]

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        left, right = masks
        if self.op == "conv2d":
            return [torch.conv2d(left, right, stride=self.stride, groups=self.groups)]
        return [left * right if self.op == "mul" else left @ right]

    def _multiplied(self) -> Shape:
        if self.op == "mul":
            return np.broadcast_shapes(self.left, self.right)
        *batch_left, rows, inner = self.left
        *batch_right, inner_right, columns = self.right
        if inner != inner_right:
            raise ValueError("inner extents differ")
        return (*np.broadcast_shapes(tuple(batch_left), tuple(batch_right)), rows, columns)

    def _convolved(self) -> Shape:
        batch, channels, *size = self.left
        out, per_group, *kernel = self.right
        if channels != per_group * self.groups or out % self.groups:
            raise ValueError("channels do not fit the groups")
        return (batch, out, *map_size(size, kernel, self.stride))


@dataclass(frozen=True)
class _Elementwise:
    """A kind whose parts all have one shape."""

    shape: Shape

    _name: ClassVar[str]
    _free_masks: ClassVar[int] = 1
    _derived_values: ClassVar[int] = 1
    _free_sharing: ClassVar[Sharing] = "additive"
    _derived_sharing: ClassVar[Sharing] = "additive"

    @property
    def purpose(self) -> str:
        return f"{self._name} {self.shape}"

    @property
    def free(self) -> list[Shape]:
        return [self.shape] * self._free_masks

    @property
    def derived(self) -> list[Shape]:
        return [self.shape] * self._derived_values

    @property
    def free_sharing(self) -> list[Sharing]:
        return [self._free_sharing] * self._free_masks

    @property
    def derived_sharing(self) -> list[Sharing]:
        return [self._derived_sharing] * self._derived_values


@dataclass(frozen=True)
class Square(_Elementwise):
    """r uniform; s = r * r."""

    _name = "square"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        return [masks[0] * masks[0]]


@dataclass(frozen=True)
class And(_Elementwise):
    """a, b uniform 64-bit words; c = a AND b; all XOR-shared."""

    _name = "and"
    _free_masks = 2
    _free_sharing = "xor"
    _derived_sharing = "xor"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        return [masks[0] & masks[1]]


@dataclass(frozen=True)
class Bit(_Elementwise):
    """A uniform bit per element: the lowest bit of an XOR-shared word, and that bit additively."""

    _name = "bit"
    _free_sharing = "xor"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        return [masks[0] & 1]


@dataclass(frozen=True)
class Truncation(_Elementwise):
    """r uniform; s = -(r >> bits) with a logical shift, m = r[63] (protocol.md 5)."""

    bits: int

    _name = "truncation"
    _derived_values = 2

    @property
    def purpose(self) -> str:
        return f"{super().purpose} {self.bits}"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        r = masks[0]
        return [-logical_shift(r, self.bits), logical_shift(r, 63)]


def logical_shift(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift 64-bit words right by 1 to 63 `bits`, filling with zeros (torch's shift is signed)."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def combined(sharing: Sharing, mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Open a value from its two shares."""
    return mine + theirs if sharing == "additive" else mine ^ theirs


def remainder(sharing: Sharing, value: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The share that, with `theirs`, opens to `value`."""
    return value - theirs if sharing == "additive" else value ^ theirs


def receiver(counter: int) -> int:
    """Which party gets the corrections of tuple number `counter`: they take turns."""
    return counter % 2


def check_size(shapes: list[Shape], limit: int) -> None:
    """Refuse, before anything is allocated, a tuple of more than `limit` elements in any part."""
    for shape in shapes:
        elements = 1
        for extent in shape:
            elements *= extent
        if not 0 < elements <= limit:
            raise LimitExceeded(f"tuple of {elements} elements; between 1 and {limit} are allowed")
