"""Convolutions as matrix products that merge repeated pixels and skip padding.

In an image enlarged f times, f x f neighbours are one pixel. So the outputs whose row and column
leave the same remainders modulo f see few distinct pixels, and each pixel meets the sum of several
taps. A 4 x 4 kernel on an image enlarged twice has 64 taps in its four kinds of outputs, and 25
such sums. Taps that meet nothing but padding are left out: 12 of 16 if a 4 x 4 kernel sees 2 x 2
pixels at once.

The sums are computed once, when the weights are loaded. They replace the weight everywhere: in its
mask, in what is opened, and in every product (docs/protocol.md#fixed-products). All is linear in
the weight and exact in the ring.

Compiled kernels lay out four windows at a time (compiled/products.py). Where there are none, torch
multiplies. It does that well if the last extent of the second matrix is large. So that extent is
the number of maps or of pixels, the larger one. For few maps, laying out the windows would be
slower than the product. Then each tap is multiplied by the whole image, and the results are added,
each shifted by the place of its tap.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from parties.mpc.compiled import threads
from parties.mpc.compiled.ready import usable, wide_by_torch, words
from parties.mpc.window import PLAIN, Window, map_size
from privedge.sharing.ring import Words

# Fewer pixels than this are no quicker: the weight must come from memory anyway.
_FEW_PIXELS = 20
# Fewer maps are quicker tap by tap.
_FEW_MAPS = 6
# From so many words of windows on, torch may be faster than a kernel (compiled/choice.py).
_WIDE_WORDS = 1 << 17
# How many words the windows of an image may have at once.
_UNFOLDED = 1 << 19


@dataclass(frozen=True)
class _Axis:
    """Along one dimension: the outputs `first`, first + period, ..., `count` of them.

    The first one meets pixel `low` with the sum of a range of taps, taps[0], pixel low + 1 with
    taps[1], and so on; each other one meets those `step` pixels further on.
    """

    first: int
    period: int
    count: int
    low: int
    step: int
    taps: tuple[tuple[int, int], ...]

    @property
    def outputs(self) -> slice:
        return slice(self.first, None, self.period)

    def padding(self, size: int) -> tuple[int, int]:
        """How many pixels are put before and after `size` pixels, or cut off where negative."""
        last = self.low + (self.count - 1) * self.step + len(self.taps) - 1
        return -self.low, last - (size - 1)

    def summed(self, weight: torch.Tensor, dim: int) -> torch.Tensor:
        """The sums of a weight's taps along `dim` (int64), in the order of `taps`."""
        sums = [weight.narrow(dim, a, b - a).sum(dim) for a, b in self.taps]
        return torch.stack(sums, dim)


# Rows and columns of one kind of outputs.
_Piece = tuple[_Axis, _Axis]


class Layout(NamedTuple):
    """One kind of outputs as compiled/products.py has it; positions are counted in words.

    taps, pixels    a tap of an output is at their sum, in an input framed by `Convolution.frame`
    places          of the outputs in a map
    start           of its words in a prepared weight: (taps, maps) if `maps_last`, or (maps, taps)
    """

    taps: Words
    pixels: Words
    places: Words
    start: int
    maps_last: bool


@dataclass(frozen=True)
class Convolution:
    """A convolution of an input (B, G, C, *size), G being 1 or N, with N kernels (O, C, K, K)."""

    kernel: tuple[int, ...]
    size: tuple[int, ...]
    window: Window = PLAIN

    @cached_property
    def maps(self) -> tuple[int, int, int]:
        """O, H', W'. Raises ValueError if there is no such convolution."""
        out, _, *taps = self.kernel
        height, width = map_size(self.window.framed(self.size), taps, self.window.stride)
        return out, height, width

    @property
    def words(self) -> int:
        """How many words of a prepared weight one owner has."""
        return sum(map(self._words, self._pieces))

    @property
    def unfolded(self) -> int:
        """How many words one image of one owner is unfolded to at once."""
        framed = math.prod(self.window.framed(self.size))
        return max([*map(self._laid_out, self._pieces), self.kernel[1] * framed])

    def prepared(self, weight: torch.Tensor) -> torch.Tensor:
        """A weight, or a share of one, int64 (N, O, C, K, K) -> int64 (N, words). Linear."""
        parts = [weight.new_empty(len(weight), 0)]
        for rows, columns in self._pieces:
            summed = columns.summed(rows.summed(weight, 3), 4)
            order = (0, 3, 4, 2, 1) if self._pixels_first((rows, columns)) else (0, 1, 2, 3, 4)
            parts.append(summed.permute(order).reshape(weight.size(0), -1))
        return torch.cat(parts, 1)

    def apply(self, x: torch.Tensor, prepared: torch.Tensor) -> torch.Tensor:
        """The convolution of x (B, G, C, H, W) and a prepared weight (N, words), all int64:
        (B, N, O, H', W').
        """
        if self.enlarges:
            x = self.window.enlarged(x)
        # Outputs that see nothing but padding stay zero.
        maps = x.new_zeros(x.size(0), prepared.size(0), *self.maps)
        if usable(x, prepared) and not (wide_by_torch() and self._wide):
            return self._by_kernels(x, prepared, maps)
        sizes = list(map(self._words, self._pieces))
        for piece, part in zip(self._pieces, torch.split(prepared, sizes, 1), strict=True):
            rows, columns = piece
            into = maps[..., rows.outputs, columns.outputs]
            for run in self._runs(x, piece, len(prepared)):
                own = x if x.size(1) == 1 else x[:, run]
                into[:, run] = self._multiplied(own, part[run], piece)
        return maps

    # --- Parts ------------------------------------------------------------------------------------

    def _by_kernels(
        self, x: torch.Tensor, prepared: torch.Tensor, maps: torch.Tensor
    ) -> torch.Tensor:
        """`apply` of an image that is enlarged already, into `maps`, which are returned."""
        from parties.mpc.compiled import products

        framed = torch.nn.functional.pad(x, self.frame)
        images = words(framed.reshape(*x.shape[:2], -1))
        weight, into = words(prepared), words(maps.view(*maps.shape[:3], -1))
        for layout in self.layouts:
            own = partial(products.convolve, images, weight, into, *layout)
            threads.spread(len(weight), own)
        return maps

    @cached_property
    def _wide(self) -> bool:
        """Whether some kind of outputs sees so many words that torch may be faster."""
        seen = (self._words(piece) // self.kernel[0] * _pixels(piece) for piece in self._pieces)
        return max(seen, default=0) >= _WIDE_WORDS

    @cached_property
    def frame(self) -> tuple[int, ...]:
        """How many zeros all pieces together see around an image: left, right, above, below."""
        height, width = self.seen
        sides = [(0, 0, 0, 0)]
        sides += [(*c.padding(width), *r.padding(height)) for r, c in self._pieces]
        return tuple(map(max, zip(*sides, strict=True)))

    @property
    def seen(self) -> tuple[int, int]:
        """Rows and columns of the image that pieces see, without zeros around it."""
        factor = self.window.factor if self.enlarges else 1
        return self.size[0] * factor, self.size[1] * factor

    @cached_property
    def layouts(self) -> tuple[Layout, ...]:
        """Where the kernel finds the words of each kind of outputs, and puts its results."""
        left, right, above, below = self.frame
        height, width = self.seen
        wide, plane = width + left + right, (height + above + below) * (width + left + right)
        layouts, start = [], 0
        for rows, columns in self._pieces:
            last = self._pixels_first((rows, columns))
            first = (rows.low + above) * wide + columns.low + left
            pixels = _grid(rows.count, rows.step * wide, columns.count, columns.step) + first
            taps = _grid(len(rows.taps), wide, len(columns.taps), 1)
            channels = np.arange(self.kernel[1]) * plane
            seen = taps[:, None] + channels if last else channels[:, None] + taps
            places = np.arange(math.prod(self.maps[1:])).reshape(self.maps[1:])
            places = places[rows.outputs, columns.outputs]
            layouts.append(Layout(_words(seen), _words(pixels), _words(places), start, last))
            start += self._words((rows, columns))
        return tuple(layouts)

    @cached_property
    def enlarges(self) -> bool:
        """Whether the image is enlarged first, because summing would make the weight larger."""
        return self.window.factor > 1 and self._cost(self._plain) < self._cost(self._summing)

    @property
    def _pieces(self) -> tuple[_Piece, ...]:
        return self._plain if self.enlarges else self._summing

    @cached_property
    def _plain(self) -> tuple[_Piece, ...]:
        size = tuple(extent * self.window.factor for extent in self.size)
        window = Window(self.window.stride, 1, self.window.padding)
        return tuple(_pieces(size, self.kernel[2:], window))

    @cached_property
    def _summing(self) -> tuple[_Piece, ...]:
        return tuple(_pieces(self.size, self.kernel[2:], self.window))

    def _cost(self, pieces: tuple[_Piece, ...]) -> int:
        return sum(self._words(piece) * max(_FEW_PIXELS, _pixels(piece)) for piece in pieces)

    def _words(self, piece: _Piece) -> int:
        rows, columns = piece
        return math.prod(self.kernel[:2]) * len(rows.taps) * len(columns.taps)

    def _by_taps(self, piece: _Piece) -> bool:
        return self.kernel[0] < _FEW_MAPS and all(axis.step == 1 for axis in piece)

    def _pixels_first(self, piece: _Piece) -> bool:
        return self.kernel[0] >= _pixels(piece) and not self._by_taps(piece)

    def _laid_out(self, piece: _Piece) -> int:
        """How many words one image of one owner has on the way to one kind of outputs."""
        if self._by_taps(piece):
            pixels = math.prod(axis.count + len(axis.taps) - 1 for axis in piece)
            return max(self._words(piece) // self.kernel[1], self.kernel[1]) * pixels
        return self._words(piece) // self.kernel[0] * _pixels(piece)

    def _runs(self, x: torch.Tensor, piece: _Piece, owners: int) -> Iterator[slice]:
        each = x.size(0) * self._laid_out(piece)
        step = owners if x.size(1) == 1 else max(1, _UNFOLDED // each)
        return (slice(start, start + step) for start in range(0, owners, step))

    def _multiplied(self, x: torch.Tensor, weight: torch.Tensor, piece: _Piece) -> torch.Tensor:
        """One kind of outputs of n owners, (B, n, O, rows, columns)."""
        batch, groups, _, *size = x.shape
        rows, columns = piece
        out, inner = self.kernel[0], weight.size(1) // self.kernel[0]
        padding = (*columns.padding(size[1]), *rows.padding(size[0]))
        extents = (batch, rows.count, columns.count)
        if self._pixels_first(piece):
            last = torch.nn.functional.pad(x.permute(1, 0, 3, 4, 2), (0, 0, *padding))
            seen = last.unfold(2, len(rows.taps), rows.step).unfold(
                3, len(columns.taps), columns.step
            )
            left = seen.permute(0, 1, 2, 3, 5, 6, 4).reshape(groups, -1, inner)
            maps = left @ weight.view(-1, inner, out)
            return maps.view(-1, *extents, out).permute(1, 0, 4, 2, 3)
        framed = torch.nn.functional.pad(x.permute(1, 2, 0, 3, 4), padding)
        if self._by_taps(piece):
            kernel = weight.view(-1, *self.kernel[:2], len(rows.taps), len(columns.taps))
            return _tap_by_tap(framed, kernel).permute(2, 0, 1, 3, 4)
        seen = framed.unfold(3, len(rows.taps), rows.step).unfold(
            4, len(columns.taps), columns.step
        )
        right = seen.permute(0, 1, 5, 6, 2, 3, 4).reshape(groups, inner, -1)
        maps = weight.view(-1, out, inner) @ right
        return maps.view(-1, out, *extents).permute(2, 0, 1, 3, 4)


def _grid(rows: int, row: int, columns: int, column: int) -> npt.NDArray[np.int64]:
    """(rows * columns,): i * row + j * column, by rows."""
    return (np.arange(rows)[:, None] * row + np.arange(columns) * column).ravel()


def _words(positions: npt.NDArray[np.int64]) -> Words:
    return positions.ravel().astype(np.uint64)


def _pixels(piece: _Piece) -> int:
    rows, columns = piece
    return rows.count * columns.count


def _pieces(size: tuple[int, ...], kernel: tuple[int, ...], window: Window) -> Iterator[_Piece]:
    left, right, above, below = window.padding
    rows = _axes(size[0], kernel[0], window, (above, below))
    return product(rows, list(_axes(size[1], kernel[1], window, (left, right))))


def _axes(size: int, kernel: int, window: Window, around: tuple[int, int]) -> Iterator[_Axis]:
    stride, factor = window.stride, window.factor
    length = (size * factor + sum(around) - kernel) // stride + 1
    period = factor // math.gcd(factor, stride)
    step = period * stride // factor
    for first in range(min(period, length)):
        count = len(range(first, length, period))
        taps: dict[int, list[int]] = {}
        for tap in range(kernel):
            taps.setdefault((first * stride - around[0] + tap) // factor, []).append(tap)
        # Where the first output meets pixel `at`, the last one meets at + (count - 1) * step.
        met = {at: of for at, of in taps.items() if -(count - 1) * step <= at < size}
        if met:
            ranges = tuple((of[0], of[-1] + 1) for of in met.values())
            yield _Axis(first, period, count, min(met), step, ranges)


def _tap_by_tap(framed: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(G, C, B, H, W) and (N, O, C, r, c) -> (N, O, B, H - r + 1, W - c + 1). Stride 1."""
    owners, out, channels, *taps = weight.shape
    every = weight.permute(0, 3, 4, 1, 2).reshape(owners, -1, channels)
    whole = every @ framed.reshape(framed.size(0), channels, -1)
    shifted = whole.view(owners, *taps, out, *framed.shape[2:])
    height, width = map_size(framed.shape[3:], taps, 1)
    maps = whole.new_zeros(owners, out, framed.size(2), height, width)
    for row, column in product(*map(range, taps)):
        maps += shifted[:, row, column, ..., row : row + height, column : column + width]
    return maps
