"""The correlated randomness a party may ask for, and what each kind is made of.

A tuple consists of free masks and derived values. A free mask is uniform; each party expands its
share of it from its own stream. A derived value is a function of the masks. One party, the
receiver, gets its share of it from the dealer as a correction; the other party expands its share
too. So each correction crosses once, to one party (docs/protocol.md#correlated-randomness).

This is the whole list: there is no other way to name an operation to the dealer. In the formulas
of the kinds below a letter is the value itself, which only the dealer computes.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np
import torch

from parties.mpc.window import map_size
from privedge.errors import LimitExceeded, ShareError

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
        """The derived values (int64, of the shapes `derived`) from the free masks themselves,
        int64 of the shapes `free`. Only the dealer knows those.
        """


@dataclass(frozen=True)
class Product:
    """a, b uniform; c = a (op) b. Beaver's triple for mul, matmul and conv2d.

    The parties open x - a and y - b; then x (op) y is a sum of public and shared products.
    """

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
        return [self.apply(*masks)]

    def apply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """x (op) y, int64 of the shapes `left` and `right`; exact in the ring."""
        if self.op == "conv2d":
            return torch.conv2d(x, y, stride=self.stride, groups=self.groups)
        return x * y if self.op == "mul" else x @ y

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
class Elementwise:
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
class Square(Elementwise):
    """r uniform; s = r * r. The parties open d = x - r; then x^2 = d^2 + 2 d r + s."""

    _name = "square"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        return [masks[0] * masks[0]]


@dataclass(frozen=True)
class And(Elementwise):
    """a, b uniform 64-bit words; c = a AND b; all XOR-shared."""

    _name = "and"
    _free_masks = 2
    _free_sharing = "xor"
    _derived_sharing = "xor"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        return [masks[0] & masks[1]]


@dataclass(frozen=True)
class Bit(Elementwise):
    """A uniform bit for each element: the lowest bit of an XOR-shared word, and the same bit shared
    additively. It turns an XOR-shared bit into an additively shared one.
    """

    _name = "bit"
    _free_sharing = "xor"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        return [masks[0] & 1]


@dataclass(frozen=True)
class Truncation(Elementwise):
    """r uniform; s = -(r >> bits) with a logical shift, m = r[63] (docs/protocol.md#truncation)."""

    bits: int

    _name = "truncation"
    _derived_values = 2

    @property
    def purpose(self) -> str:
        return f"{super().purpose} {self.bits}"

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        r = masks[0]
        # What r takes from the quotient of c = x + r; and r's part in whether c wrapped around.
        return [-logical_shift(r, self.bits), logical_shift(r, 63)]


def logical_shift(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift int64 words of any shape right by 1 to 63 `bits`, filling with zeros: torch's own shift
    keeps the sign.
    """
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def combined(sharing: Sharing, mine: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """The value of two shares, int64 of one shape."""
    return mine + theirs if sharing == "additive" else mine ^ theirs


def combine_into(sharing: Sharing, mine: torch.Tensor, theirs: torch.Tensor) -> None:
    """Put the value of two shares in place of the first one."""
    if sharing == "additive":
        mine += theirs
    else:
        mine ^= theirs


def leave(sharing: Sharing, value: torch.Tensor, theirs: torch.Tensor) -> None:
    """Put the share that, with `theirs`, opens to `value` in its place; int64 of one shape."""
    if sharing == "additive":
        torch.sub(value, theirs, out=theirs)
    else:
        theirs ^= value


class InPlace(ABC):
    """A kind that makes its corrections where the other party's shares are."""

    @abstractmethod
    def correct(self, masks: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
        """Do what `leave` does, for each value that `TupleKind.derive` would derive from the masks.
        Dealer only.
        """


def receiver(counter: int) -> int:
    """Which party gets the corrections of tuple number `counter`: they take turns."""
    return counter % 2


def check_size(shapes: list[Shape], limit: int) -> None:
    """Refuse, before anything is allocated, a tuple of more than `limit` elements in any part.

    Raises LimitExceeded, also for a part of no element.
    """
    for shape in shapes:
        elements = 1
        for extent in shape:
            elements *= extent
        if not 0 < elements <= limit:
            raise LimitExceeded(f"tuple of {elements} elements; between 1 and {limit} are allowed")
