"""Products with a weight that does not change between queries (protocol.md 4).

The weight's mask A is drawn once, when a snapshot is loaded, and E = W - A is opened once. Then

    dealer, per query       C = A * B                for a fresh mask B of the input
    ahead of the input      U_i = E * B_i + C_i      a share of W * B
    online                  D = open(x - B),  z_i = W_i * D + U_i

so a query opens 8 bytes per input element and party, and never a weight again. A belongs to one W:
a worker draws a fresh weight seed whenever it loads weights.

Of a convolution, W is the weight as kernels.py prepares it, here and in A, E and U: it is the same
for all batch sizes, because an input's rows and columns are the spec's.

There may be thousands of owners, so A is drawn, opened and multiplied in runs of owners
(products.runs), and is nowhere in one piece; each run's mask has a key of its own.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch

from privedge.errors import ShareError
from privedge.mpc.kernels import Convolution
from privedge.mpc.prg import SEED_BYTES, MaskStream
from privedge.mpc.products import Map, by_runs, multiplied, runs
from privedge.mpc.tuples import Shape, Sharing
from privedge.mpc.window import PLAIN, Window

# Along one side of a kernel: preparing takes a step for each.
_MOST_TAPS = 64


@dataclass(frozen=True)
class FixedProduct:
    """B uniform; C = the map of B and the weight's mask A, which the dealer knows by name.

    `weight` and `input` are the shapes of the layer's; the mask is of shape `masked`.
    """

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
        if self.map != "conv":
            dense = self.map
            return by_runs(mask, self.masked, 0, lambda x, run: multiplied(dense, x, part(run)))
        form = self._form
        return by_runs(mask, self.masked, 1, lambda x, run: form.apply(x, part(run)))

    def apply(self, x: torch.Tensor, prepared: torch.Tensor) -> torch.Tensor:
        """The map of x and of a weight that `prepared` gave, or of what has its shape."""
        return self.product(x, prepared.__getitem__)

    def prepared(self, weight: torch.Tensor) -> torch.Tensor:
        """What stands for the weight in every product: of shape `masked`, and linear in it."""
        if self.map != "conv":
            return weight
        return torch.cat([self._form.prepared(weight[run]) for run in runs(self.weight)])

    @property
    def masked(self) -> Shape:
        """Shape of the prepared weight, so of A and E."""
        return (self.weight[0], self._form.words) if self.map == "conv" else self.weight

    @property
    def run(self) -> Shape:
        """Shape of the largest part of the prepared weight that is handled at once."""
        first = next(runs(self.masked), slice(0, 0))
        return (first.stop, *self.masked[1:])

    @property
    def unfolded(self) -> Shape:
        """Shape of what a convolution makes of one owner's input; of other maps the input's."""
        return (self.input[0], self._form.unfolded) if self.map == "conv" else self.input

    def weight_mask(self, seed: bytes, run: slice) -> torch.Tensor:
        """One party's share of A of a run of owners: the same for every query until it draws a new
        weight seed.
        """
        return weight_mask(seed, self.name, self.masked, run)

    @cached_property
    def _form(self) -> Convolution:
        """Raises ShareError if there is no such convolution."""
        form = Convolution(self.weight[1:], self.input[3:], self.window)
        try:
            fits = len(self.weight) == len(self.input) == 5
            if fits and max(self.weight[3:]) <= _MOST_TAPS and form.maps:
                return form
        except ValueError:
            pass
        raise ShareError(f"no such product: {self.purpose}")

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
        form = self._form
        batch, groups, channels = self.input[:3]
        owners, _, per_map = self.weight[:3]
        if channels != per_map or groups not in (1, owners):
            raise ValueError("extents do not fit")
        return (batch, owners, *form.maps)


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
