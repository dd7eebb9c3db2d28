"""Products with a weight that does not change between queries (protocol.md 4).

The weight's mask A is drawn once, when a snapshot is loaded, and E = W - A is opened once. Then

    dealer, per query       C = A * B                for a fresh mask B of the input
    ahead of the input      U_i = E * B_i + C_i      a share of W * B
    online                  D = open(x - B),  z_i = W_i * D + U_i

so a query opens 8 bytes per input element and party, and never a weight again. A belongs to one W:
a worker draws a fresh weight seed whenever it loads weights.

There may be thousands of owners, so A is drawn, opened and multiplied in runs of owners
(products.runs), and is nowhere in one piece; each run's mask has a key of its own.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from privedge.errors import ShareError
from privedge.mpc.prg import SEED_BYTES, MaskStream
from privedge.mpc.products import PLAIN, Map, Window, apply_by_runs, map_size, runs
from privedge.mpc.tuples import Shape, Sharing


@dataclass(frozen=True)
class FixedProduct:
    """B uniform; C = the map of B and the weight's mask A, which the dealer knows by name."""

    map: Map
    name: str
    weight: Shape
    input: Shape
    window: Window = PLAIN

    @property
    def purpose(self) -> str:
        window = f"{self.window.stride} {self.window.factor} {self.window.padding}"
        return f"fixed {self.map} {self.name} {self.weight} {self.input} {window}"

    @property
    def free(self) -> list[Shape]:
        return [self.input]

    @property
    def derived(self) -> list[Shape]:
        try:
            return [self._output()]
        except ValueError:
            raise ShareError(f"no such product: {self.purpose}") from None

    @property
    def free_sharing(self) -> list[Sharing]:
        return ["additive"]

    @property
    def derived_sharing(self) -> list[Sharing]:
        return ["additive"]

    def derive(self, masks: list[torch.Tensor]) -> list[torch.Tensor]:
        """`masks` are A and B."""
        weight, mask = masks
        return [self.product(mask, weight.__getitem__)]

    def product(self, mask: torch.Tensor, part: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """C from B and A, of which `part` gives each run of owners."""
        return apply_by_runs(self.map, mask, self.weight, part, self.window)

    @property
    def run(self) -> Shape:
        """Shape of the largest part of the weight that is handled at once."""
        first = next(runs(self.weight), slice(0, 0))
        return (first.stop, *self.weight[1:])

    @property
    def framed(self) -> Shape:
        """Shape of what is convolved; of other maps the input's."""
        if self.map != "conv":
            return self.input
        if len(self.input) != 5:
            raise ShareError(f"no such product: {self.purpose}")
        return self.window.framed(self.input)

    def weight_mask(self, seed: bytes, run: slice) -> torch.Tensor:
        """One party's share of A of a run of owners: the same for every query until it draws a new
        weight seed.
        """
        return weight_mask(seed, self.name, self.weight, run)

    def _output(self) -> Shape:
        if self.map == "conv":
            return self._maps()
        groups, rows, columns = self.input
        owners, out, inner = self.weight
        expected, given = (inner, out) if self.map == "dense" else (out, inner)
        if columns != expected or groups not in (1, owners):
            raise ValueError("extents do not fit")
        return (owners, rows, given)

    def _maps(self) -> Shape:
        batch, groups, channels, *size = self.framed
        owners, out, per_map, *kernel = self.weight
        if channels != per_map or groups not in (1, owners):
            raise ValueError("extents do not fit")
        return (batch, owners, out, *map_size(size, kernel, self.window.stride))


def weight_mask(seed: bytes, name: str, shape: Shape, run: slice) -> torch.Tensor:
    """One party's share of the mask of a run of owners, int64 (owners in it, ...), of the weight
    `name`, which is of `shape` in all.
    """
    purpose = f"weight {name} {shape} from {run.start}"
    stream = MaskStream(seed, purpose=purpose, session=b"", attempt=0, counter=0)
    return stream.take((run.stop - run.start, *shape[1:]))


@dataclass(frozen=True)
class MaskedWeights:
    """What a worker keeps of a snapshot's weights beside its shares: its weight seed (secret), E
    by name (known to both parties), its shares of what depends on the weights alone, by name, and
    the id under which both workers made all this.
    """

    pairing: bytes
    seed: bytes = field(repr=False)
    opened: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    constants: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Bytes of what is opened and of the constants."""
        kept = [*self.opened.values(), *self.constants.values()]
        return sum(each.nbytes for each in kept)

    @staticmethod
    def fresh(pairing: bytes) -> "MaskedWeights":
        """A new seed from the operating system; nothing is opened yet."""
        return MaskedWeights(pairing, os.urandom(SEED_BYTES))
