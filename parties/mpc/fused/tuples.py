"""The correlated randomness of the fused comparison, ReLU and exact truncation: all of it at the
dealer, a share of it at each party (docs/protocol.md#comparison, #relu and #truncation).

All open c = x + r and compare the low bits of c with those of the secret r, which gives the sign of
x, or what c - r borrows. Parts, for n elements packed into W words a bit (packing.py):

    free      r (n), additive; t (W) and the masks of the tree, XOR
    derived   tables of r's nibbles and products of the tree's masks, XOR; numbers (k, n), additive

The last bit that is opened is masked by t. Where it tells a sign, t is rho ^ r[bits], with a
uniform bit rho for each element: t is drawn, and rho follows from it.

Exact rounding needs b = [c mod 2^16 < r mod 2^16] too. In a ReLU b is an input of the tree's last
level, which opens it anyway under one of the tree's masks. So the dealer also shares that mask,
sigma, additively, and nothing more is opened.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cache

import torch

from parties.mpc.compiled.ready import usable, words
from parties.mpc.fused import tree
from parties.mpc.fused.packing import planes, spread, words_for
from parties.mpc.tuples import InPlace, Shape, Sharing, leave
from privedge.errors import ShareError

# How many low bits the tree may compare, and how many nibbles they are. The sign of x is right if
# -2^bits <= x < 2^bits; with 63 bits that is every ring element. One bit more is opened: most are
# whole bytes then.
NIBBLES = {16: 4, 23: 6, 31: 8, 39: 10, 48: 12, 63: 16}

# How far exact rounding shifts: the tree compares that many low bits as one group.
EXACT_BITS = tree.NIBBLE * tree.FAN_IN


class TreeTuple(InPlace):
    """What all kinds that compare by a tree have in common."""

    shape: Shape
    bits: int

    @property
    @abstractmethod
    def compared(self) -> int:
        """How many low bits are compared: a key of NIBBLES."""

    @property
    @abstractmethod
    def numbers(self) -> int:
        """How many arithmetic values are derived for each element."""

    @abstractmethod
    def arithmetic(self, r: torch.Tensor, bit: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        """Those values, int64 (numbers, n), from the additive free part r. `bit`: bit `compared` of
        what is compared with, packed, (W,); `drawn`: the XOR-shared free part itself, (rows, W), t
        first. Dealer only.
        """

    def masks_compared(self, r: torch.Tensor) -> torch.Tensor:
        """The masks (n,) of what is compared, of the additive free part r."""
        return r

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def levels(self) -> tuple[tree.Level, ...]:
        return tree.levels(NIBBLES[self.compared])

    @property
    def mask_sizes(self) -> list[int]:
        """Rows of the XOR-shared free part: t, then the masks of each level."""
        return _sizes(NIBBLES[self.compared])[0]

    @property
    def product_sizes(self) -> list[int]:
        """Rows of the XOR-shared derived part: the tables, then the products of each level."""
        return _sizes(NIBBLES[self.compared])[1]

    @property
    def free(self) -> list[Shape]:
        return [(self.elements,), (sum(self.mask_sizes), words_for(self.elements))]

    @property
    def derived(self) -> list[Shape]:
        packed = (sum(self.product_sizes), words_for(self.elements))
        return [packed, (self.numbers, self.elements)]

    @property
    def free_sharing(self) -> list[Sharing]:
        return ["additive", "xor"]

    @property
    def derived_sharing(self) -> list[Sharing]:
        return ["xor", "additive"]

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        r, drawn = masks
        # Which low bits of r are compared, and the bit above them, which goes with the sign.
        rows = planes(self.masks_compared(r))
        bit = rows[self.compared].clone()
        tree.clear_above(rows, self.compared, NIBBLES[self.compared])
        # Tables of r's nibbles, which the parties look up at the nibbles of the public c; and the
        # products of each level's masks, by which they join what that level opens.
        _, *of_levels = torch.split(drawn, self.mask_sizes)
        nibbles = NIBBLES[self.compared]
        parts = [tree.tables(tree.nibble_planes(rows, nibbles)).reshape(-1, rows.size(1))]
        parts += [level.products(mask) for level, mask in zip(self.levels, of_levels, strict=True)]
        return [torch.cat(parts), self.arithmetic(r, bit, drawn)]

    def correct(self, masks: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
        r, drawn = masks
        if not usable(r, *theirs):
            packed, numbers = self.derive(masks)
            leave("xor", packed, theirs[0])
            leave("additive", numbers, theirs[1])
            return
        from parties.mpc.compiled import trees

        # Each part where the other party's share of it is: nothing is made that is only copied.
        bit = drawn.new_empty(drawn.size(1))
        _, *of_levels = drawn.split_with_sizes(self.mask_sizes)
        tables, *products = theirs[0].split_with_sizes(self.product_sizes)
        of = self.compared, tree.fan_of(NIBBLES[self.compared])
        trees.tables(words(self.masks_compared(r)), of, words(tables), words(bit))
        for level, mask, product in zip(self.levels, of_levels, products, strict=True):
            of_level = level.sources, level.factors, level.groups
            trees.products(words(mask), of_level, words(product))
        self.correct_numbers(r, bit, drawn, theirs[1])

    def correct_numbers(
        self, r: torch.Tensor, bit: torch.Tensor, drawn: torch.Tensor, theirs: torch.Tensor
    ) -> None:
        """What `leave` does, for `arithmetic`."""
        leave("additive", self.arithmetic(r, bit, drawn), theirs)


@dataclass(frozen=True)
class Comparison(TreeTuple):
    """For [x < 0], -2^bits <= x < 2^bits. Opened are bits + 1 bits of x + r. Numbers: rho."""

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

    def arithmetic(self, r: torch.Tensor, bit: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        # rho = t ^ r[bits]: uniform like t, and the parties know t as XOR shares only.
        return spread(drawn[0] ^ bit, r.numel()).neg_().unsqueeze(0)

    def correct_numbers(
        self, r: torch.Tensor, bit: torch.Tensor, drawn: torch.Tensor, theirs: torch.Tensor
    ) -> None:
        rho = drawn[0] ^ bit
        _correct_relu(r, (rho, rho), (1, 0), theirs)


@dataclass(frozen=True)
class FusedRelu(TreeTuple):
    """For max(x, 0) and for x itself, both shifted right by `bits`, -2^48 <= x < 2^48.

    Opened is x + OFFSET + r. Numbers: rho, s, w, rho * s and rho * w, with s and w as `quotients`
    has them; if `exact` also sigma and rho * sigma.
    """

    shape: Shape
    bits: int
    exact: bool = False

    MAGNITUDE = 48
    OFFSET = 1 << MAGNITUDE

    def __post_init__(self) -> None:
        if not 1 <= self.bits < self.MAGNITUDE:
            raise ShareError(f"relu tuple: between 1 and {self.MAGNITUDE - 1} bits")
        if self.exact:
            _check_exact(self.bits)

    @property
    def purpose(self) -> str:
        return f"relu {self.shape} {self.bits}{' exact' if self.exact else ''}"

    @property
    def compared(self) -> int:
        return self.MAGNITUDE

    @property
    def numbers(self) -> int:
        return 7 if self.exact else 5

    def arithmetic(self, r: torch.Tensor, bit: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        numbers = r.new_empty(self.numbers, r.numel())
        # As words 0 or -1, rho chooses: AND with it is a product.
        rho = spread(drawn[0] ^ bit, r.numel())
        torch.neg(rho, out=numbers[0])
        quotients(r, self.bits, self.OFFSET, numbers[1:3])
        torch.bitwise_and(numbers[1:3], rho, out=numbers[3:5])
        if self.exact:
            # The last mask of the last level hides the least significant group's less-than.
            torch.neg(spread(drawn[-1], r.numel()), out=numbers[5])
            torch.bitwise_and(numbers[5], rho, out=numbers[6])
        return numbers

    def correct_numbers(
        self, r: torch.Tensor, bit: torch.Tensor, drawn: torch.Tensor, theirs: torch.Tensor
    ) -> None:
        _correct_relu(r, (drawn[0] ^ bit, drawn[-1]), (self.bits, self.OFFSET), theirs)


@dataclass(frozen=True)
class ExactTruncation(TreeTuple):
    """For floor(x / 2^bits), -2^62 <= x < 2^62.

    Opened is x + OFFSET + r. Numbers: sigma = t, and s and w as `quotients` has them.
    """

    shape: Shape
    bits: int

    OFFSET = 1 << 62

    def __post_init__(self) -> None:
        _check_exact(self.bits)

    @property
    def purpose(self) -> str:
        return f"truncation {self.shape} {self.bits} exact"

    @property
    def compared(self) -> int:
        return self.bits

    @property
    def numbers(self) -> int:
        return 3

    def arithmetic(self, r: torch.Tensor, bit: torch.Tensor, drawn: torch.Tensor) -> torch.Tensor:
        numbers = r.new_empty(self.numbers, r.numel())
        # No sign is opened here, so t hides the borrow itself and is sigma.
        torch.neg(spread(drawn[0], r.numel()), out=numbers[0])
        quotients(r, self.bits, self.OFFSET, numbers[1:3])
        return numbers


@cache
def _sizes(nibbles: int) -> tuple[list[int], list[int]]:
    """`mask_sizes` and `product_sizes`."""
    levels = tree.levels(nibbles)
    products = [level.product_rows for level in levels]
    return [1, *(level.mask_rows for level in levels)], [tree.TABLE * nibbles, *products]


def quotients(r: torch.Tensor, bits: int, offset: int, out: torch.Tensor) -> None:
    """Write s and w, int64 (2, n), to `out`: the quotient is (c >> bits) + s, and + w where c < 0.

    All shifts and signs are those of int64. s = -(r >> bits) - (offset >> bits); w = 2^(64 - bits)
    where r >= 0, else 0. Because x + offset = c - r is not negative, the signed difference has
    wrapped around if c is negative and r is not, and never otherwise.
    """
    torch.bitwise_right_shift(r, bits, out=out[0])
    out[0] += offset >> bits
    out[0].neg_()
    torch.bitwise_right_shift(r, 63, out=out[1])
    out[1].bitwise_not_()
    out[1] &= 1 << (64 - bits)


def _correct_relu(
    r: torch.Tensor,
    packed: tuple[torch.Tensor, torch.Tensor],
    shift: tuple[int, int],
    theirs: torch.Tensor,
) -> None:
    """`packed`: rho and sigma, (W,). `shift`: how many bits, and the offset."""
    from parties.mpc.compiled import elements

    rho, sigma = packed
    bits, offset = shift
    elements.relu_numbers(words(r), (words(rho), words(sigma)), bits, offset >> bits, words(theirs))


def _check_exact(bits: int) -> None:
    if bits != EXACT_BITS:
        raise ShareError(f"exact rounding: shifts by {EXACT_BITS} bits only")
