"""A layer as sums of an input's words: what products by hints (hints.py) need of its geometry.

One owner's input, with zeros around its images, is a row of words. Outputs come in blocks. In a
block, output p of map o is the sum over taps t of weight[o, t] * input[taps[t] + pixels[p]]. A
dense map is an image of one pixel with many channels.

A row fills polynomials of DEGREE coefficients, whole channels at a time: CHUNKS of `span` words.
Kernels are put into polynomials backwards (Huang and others, Cheetah, USENIX Security 2022, section
3.2), several maps in one where the span fits more than once: tap t of map k is coefficient

    turn - taps[t] + k * span          and output p of map k of the product is coefficient
    turn + pixels[p] + k * span
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from parties.mpc.fixed_product import FixedProduct
from parties.mpc.twoparty import ring
from privedge.errors import ShareError
from privedge.sharing.ring import Words

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """Outputs of one kind: taps (T,), pixels (P,), and where outputs are in a map, (P,)."""

    taps: Places
    pixels: Places
    places: Places
    start: int = 0
    maps_last: bool = False


@dataclass(frozen=True)
class Layer:
    """The geometry of a fixed product.

    kind        the product, whose batch does not matter
    plane       words of one channel, zeros around it included
    channels    of the input
    """

    kind: FixedProduct
    plane: int
    channels: int
    outputs: int
    blocks: tuple[Block, ...]

    @staticmethod
    def of(kind: FixedProduct) -> "Layer":
        """Raises ShareError for a layer that does not fit into polynomials."""
        if kind.map == "conv":
            layer = _convolution(kind)
        else:
            outputs, inputs = kind.weight[1:] if kind.map == "dense" else kind.weight[:0:-1]
            one = np.zeros(1, np.int64)
            layer = Layer(kind, 1, inputs, outputs, (Block(np.arange(inputs), one, one),))
        if layer.plane > ring.DEGREE:
            raise ShareError(f"two parties cannot make so large an image: {kind.purpose}")
        return layer

    @property
    def owners(self) -> int:
        return self.kind.weight[0]

    @property
    def groups(self) -> int:
        """How many inputs there are for an image: one, or one an owner."""
        return self.kind.input[1] if self.kind.map == "conv" else self.kind.input[0]

    @cached_property
    def span(self) -> int:
        """Words of an input in one polynomial."""
        return min(self.channels, ring.DEGREE // self.plane) * self.plane

    @property
    def chunks(self) -> int:
        """Polynomials of one input."""
        return -(-self.channels * self.plane // self.span)

    @cached_property
    def together(self) -> int:
        """Maps in one polynomial."""
        return min(self.outputs, ring.DEGREE // self.span)

    @property
    def polynomials(self) -> int:
        """Of one block of one owner's results."""
        return -(-self.outputs // self.together)

    def rows(self, mask: torch.Tensor) -> Words:
        """Inputs (int64, `kind.input` for any batch) as polynomials, (images, groups, chunks,
        span).
        """
        if self.kind.map == "conv":
            form = self.kind.form
            mask = form.window.enlarged(mask) if form.enlarges else mask
            flat = torch.nn.functional.pad(mask, form.frame).reshape(*mask.shape[:2], -1)
        else:
            flat = mask.transpose(0, 1)
        short = self.chunks * self.span - flat.shape[2]
        whole = torch.nn.functional.pad(flat, (0, short)).contiguous().numpy().view(np.uint64)
        rows: Words = whole.reshape(*whole.shape[:2], self.chunks, self.span)
        return rows

    def weights(self, prepared: torch.Tensor) -> list[Words]:
        """A weight, as `FixedProduct.prepared` gives it, for each block: (owners, outputs, T)."""
        words: Words = prepared.numpy().view(np.uint64)
        if self.kind.map != "conv":
            return [words if self.kind.map == "dense" else words.transpose(0, 2, 1)]
        parts = []
        for block in self.blocks:
            size = self.outputs * len(block.taps)
            part = words[:, block.start : block.start + size]
            if block.maps_last:
                parts.append(part.reshape(self.owners, -1, self.outputs).transpose(0, 2, 1))
            else:
                parts.append(part.reshape(self.owners, self.outputs, -1))
        return parts

    def laid_out(self, parts: Sequence[Words]) -> torch.Tensor:
        """Outputs of each block, (images, owners, outputs, P), in the shape of the product's."""
        images = len(parts[0])
        if self.kind.map != "conv":
            flat = torch.from_numpy(np.ascontiguousarray(parts[0][..., 0]).view(np.int64))
            return flat.transpose(0, 1).contiguous()
        maps = np.zeros((images, self.owners, self.outputs, self._pixels), np.uint64)
        for block, part in zip(self.blocks, parts, strict=True):
            maps[..., block.places] = part
        shape = (images, self.owners, *self.kind.form.maps)
        return torch.from_numpy(maps.view(np.int64)).reshape(shape)

    @property
    def _pixels(self) -> int:
        _, height, width = self.kind.form.maps
        return height * width


def _convolution(kind: FixedProduct) -> Layer:
    form = kind.form
    left, right, above, below = form.frame
    height, width = form.seen
    plane = (height + above + below) * (width + left + right)
    blocks = tuple(
        Block(
            layout.taps.astype(np.int64),
            layout.pixels.astype(np.int64),
            layout.places.astype(np.int64),
            layout.start,
            layout.maps_last,
        )
        for layout in form.layouts
    )
    return Layer(kind, plane, form.kernel[1], form.kernel[0], blocks)
