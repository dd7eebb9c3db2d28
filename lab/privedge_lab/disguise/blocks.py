"""Cut images into grids of square blocks, and join them again. Needs no key.

Images whose sides are not multiples of the block are padded with zeros, as evenly as possible; an
odd row or column is at the bottom or right.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from privedge_lab.disguise.settings import Aes, Sized


@dataclass(frozen=True)
class Grid:
    """A grid for images (channels, height, width), cut into blocks of side `block`.

    A disguised image has the same grid of blocks, each of side `block * enlargement`. Positions
    are counted row by row.
    """

    image: tuple[int, int, int]
    block: int
    enlargement: int = 1

    @property
    def rows(self) -> int:
        """The number of blocks from top to bottom."""
        return -(-self.image[1] // self.block)

    @property
    def columns(self) -> int:
        """The number of blocks from left to right."""
        return -(-self.image[2] // self.block)

    @property
    def positions(self) -> int:
        """The number of blocks of one channel."""
        return self.rows * self.columns

    @property
    def disguised(self) -> tuple[int, int, int]:
        """The shape of one disguised image."""
        side = self.block * self.enlargement
        return (self.image[0], self.rows * side, self.columns * side)

    def cut(self, images: torch.Tensor) -> torch.Tensor:
        """Cut images (n, C, H, W), padded with zeros, into (n, C, positions, block, block)."""
        _check(images, self.image)
        return self._cut(functional.pad(images, self._padding()), self.block)

    def cut_disguised(self, disguised: torch.Tensor) -> torch.Tensor:
        """Cut disguised images (n, C, H', W') into blocks (n, C, positions, side, side)."""
        _check(disguised, self.disguised)
        return self._cut(disguised, self.block * self.enlargement)

    def join(self, blocks: torch.Tensor) -> torch.Tensor:
        """Join blocks (n, C, positions, side, side) of any side; the padding remains."""
        n, channels, _, side, _ = blocks.shape
        grid = blocks.reshape(n, channels, self.rows, self.columns, side, side)
        return grid.transpose(3, 4).reshape(n, channels, self.rows * side, self.columns * side)

    def crop(self, padded: torch.Tensor) -> torch.Tensor:
        """Remove the padding of pictures that `join` made of this grid's blocks: (n, C, H, W)."""
        left, _, top, _ = self._padding()
        return padded[:, :, top : top + self.image[1], left : left + self.image[2]]

    def undisguised(self, images: torch.Tensor) -> torch.Tensor:
        """Pad and enlarge plain images (n, C, H, W) like disguised ones: (n, C, H', W')."""
        return self.join(enlarge(self.cut(images), self.enlargement))

    def _cut(self, pictures: torch.Tensor, side: int) -> torch.Tensor:
        n, channels = pictures.shape[:2]
        grid = pictures.reshape(n, channels, self.rows, side, self.columns, side)
        return grid.transpose(3, 4).reshape(n, channels, self.positions, side, side)

    def _padding(self) -> tuple[int, int, int, int]:
        missing_rows = self.rows * self.block - self.image[1]
        missing_columns = self.columns * self.block - self.image[2]
        top, left = missing_rows // 2, missing_columns // 2
        return (left, missing_columns - left, top, missing_rows - top)


def grid(sized: Sized) -> Grid:
    """Return the grid that a disguise of this kind and size works on."""
    settings = sized.settings
    enlargement = settings.enlargement if isinstance(settings, Aes) else 1
    return Grid(sized.image, settings.block, enlargement)


def enlarge(blocks: torch.Tensor, times: int) -> torch.Tensor:
    """Repeat each pixel of (..., side, side) `times` times in both directions."""
    return blocks.repeat_interleave(times, -1).repeat_interleave(times, -2)


def _check(images: torch.Tensor, shape: tuple[int, int, int]) -> None:
    if images.ndim != 4 or tuple(images.shape[1:]) != shape:
        raise ValueError(f"images must be (n, {', '.join(map(str, shape))})")
