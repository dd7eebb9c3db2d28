"""Products with a weight that does not change between queries (docs/protocol.md#fixed-products).

The weight's mask A is drawn once, when a snapshot is loaded, and E = W - A is opened once. Then

    dealer, per query       C = A * B                for a fresh mask B of the input
    ahead of the input      U_i = E * B_i + C_i      a share of W * B
    online                  D = open(x - B),  z_i = W_i * D + U_i

so a query opens 8 bytes per input element and party, and never a weight again. A belongs to one W:
a worker draws a fresh weight seed whenever it loads weights.

The W of a convolution is the weight as convolution.py prepares it, here and in A, E and U. It is
the same for all batch sizes, because the spec fixes the input's rows and columns.

There may be thousands of owners, so A is drawn, opened and multiplied in runs of owners
(products.runs). It is never in memory in one piece, and each run's mask has a key of its own.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch

from parties.mpc.convolution import Convolution
from parties.mpc.prg import SEED_BYTES, MaskStream
from parties.mpc.products import Map, by_runs, in_one_run, multiplied, runs
from parties.mpc.tuples import Shape, Sharing
from parties.mpc.window import PLAIN, Window
from privedge.errors import ShareError

# Along one side of a kernel: preparing has a step for each tap.
_MOST_TAPS = 64


@dataclass(frozen=True)
class FixedProduct:
    """B uniform; C = the map of B and the weight's mask A, which the dealer knows by name.

    `weight` and `input` are the shapes of the layer's weight W and input x, which B has too. A and
    E have the shape `masked`.
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
        """C, of the output's shape, from A (`masked`) and B (`input`); all int64."""
        weight, mask = masks
        return [self.product(mask, weight.__getitem__)]

    def product(self, mask: torch.Tensor, part: Callable[[slice], torch.Tensor]) -> torch.Tensor:
        """The map of `mask` (`input`, int64) and of a weight in the prepared form, of which `part`
        gives each run of owners. Returns int64 of the output's shape; exact in the ring.
        """
        if self.map != "conv":
            dense = self.map
            return by_runs(mask, self.masked, 0, lambda x, run: multiplied(dense, x, part(run)))
        form = self.form
        return by_runs(mask, self.masked, 1, lambda x, run: form.apply(x, part(run)))

    def apply(self, x: torch.Tensor, prepared: torch.Tensor) -> torch.Tensor:
        """The map of x (`input`, int64) and of what `prepared` gave of a weight, or of anything of
        that shape: E in U_i = E * B_i + C_i, a share of W in z_i = W_i * D + U_i.
        """
        if self.map != "conv" and in_one_run(self.weight):
            return multiplied(self.map, x, prepared)
        return self.product(x, prepared.__getitem__)

    def prepared(self, weight: torch.Tensor) -> torch.Tensor:
        """What replaces the weight (int64, `weight`) in every product: int64 of shape `masked`, and
        linear in the weight. So a party prepares its share of W, and has its share of what W gives.
        """
        if self.map != "conv":
            return weight
        return torch.cat([self.form.prepared(weight[run]) for run in runs(self.weight)])

    @property
    def masked(self) -> Shape:
        """Shape of the prepared weight, and so of A and E."""
        return (self.weight[0], self.form.words) if self.map == "conv" else self.weight

    @property
    def run(self) -> Shape:
        """Shape of the largest part of the prepared weight that is handled at once."""
        first = next(runs(self.masked), slice(0, 0))
        return (first.stop, *self.masked[1:])

    @property
    def unfolded(self) -> Shape:
        """Shape of what a convolution unfolds one owner's input to; that of other maps' inputs."""
        return (self.input[0], self.form.unfolded) if self.map == "conv" else self.input

    def weight_mask(self, seed: bytes, run: slice) -> torch.Tensor:
        """One party's share of A of a run of owners, int64 (owners in it, *masked[1:]): the same
        for every query, until that party draws a new weight seed.
        """
        return weight_mask(seed, self.name, self.masked, run)

    @cached_property
    def form(self) -> Convolution:
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
        form = self.form
        batch, groups, channels = self.input[:3]
        owners, _, per_map = self.weight[:3]
        if channels != per_map or groups not in (1, owners):
            raise ValueError("extents do not fit")
        return (batch, owners, *form.maps)


def weight_mask(seed: bytes, name: str, shape: Shape, run: slice) -> torch.Tensor:
    """One party's share of the mask of a run of owners, int64 (owners in it, *shape[1:]), of the
    weight `name`, whose `shape` is that of all owners.
    """
    # No session: the mask outlives it. What keeps it to one W is the seed, fresh for each load. The
    # run's first owner is in the purpose, so that no two runs have one key.
    purpose = f"weight {name} {shape} from {run.start}"
    stream = MaskStream(seed, purpose=purpose, session=b"", counter=0)
    return stream.take((run.stop - run.start, *shape[1:]))


@dataclass(frozen=True)
class FixedWeight:
    """What a supply of tuples may ask of a weight: this party's share of it, as
    `FixedProduct.prepared` gives it, and E, which is opened when it is asked for first.
    """

    share: torch.Tensor = field(repr=False)
    opened: Callable[[], torch.Tensor] = field(repr=False)


@dataclass(frozen=True)
class MaskedWeights:
    """What a worker keeps of a snapshot's weights beside its shares.

    pairing     the id under which both workers made all this
    seed        its weight seed; secret
    opened      E by the weight's name; known to both parties, never to the dealer
    constants   its shares of what depends on the weights alone, by name
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
        """A new seed from the operating system; nothing is opened yet.

        Under the seed of an earlier load A would meet a second W, and E - E' would be W - W'.
        """
        return MaskedWeights(pairing, os.urandom(SEED_BYTES))
