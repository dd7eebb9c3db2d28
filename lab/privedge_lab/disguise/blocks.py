"""Images as grids of square blocks, and back. Needs no key.

Images whose sides are no multiple of the block get zeros around them, as evenly as possible (the
odd one at the bottom or right).
"""

from dataclasses import dataclass

import torch
from torch.nn import functional

from privedge_lab.disguise.settings import Aes, Sized


@dataclass(frozen=True)
class Grid:
    """Images (channels, height, width), cut in blocks of side `block`.

    A disguised image has the same grid of blocks, each of side `block * enlargement`. Positions
    are counted row by row.
    """

    image: tuple[int, int, int]
    block: int
    enlargement: int = 1

    @property
    def rows(self) -> int:
        """Blocks from top to bottom."""
        return -(-self.image[1] // self.block)

    @property
    def columns(self) -> int:
        """Blocks from left to right."""
        return -(-self.image[2] // self.block)

    @property
    def positions(self) -> int:
        """Blocks of one channel."""
        return self.rows * self.columns

    @property
    def disguised(self) -> tuple[int, int, int]:
        """The shape of one disguised image."""
        side = self.block * self.enlargement
        return (self.image[0], self.rows * side, self.columns * side)

    def cut(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, C, H, W) as blocks (n, C, positions, block, block), padded with zeros."""
        _check(images, self.image)
        return self._cut(functional.pad(images, self._padding()), self.block)

    def cut_disguised(self, disguised: torch.Tensor) -> torch.Tensor:
        """Disguised images (n, C, H', W') as blocks (n, C, positions, side, side)."""
        _check(disguised, self.disguised)
        return self._cut(disguised, self.block * self.enlargement)

    def join(self, blocks: torch.Tensor) -> torch.Tensor:
        """Blocks (n, C, positions, side, side) of any side as pictures, padding left in."""
        n, channels, _, side, _ = blocks.shape
        grid = blocks.reshape(n, channels, self.rows, self.columns, side, side)
        return grid.transpose(3, 4).reshape(n, channels, self.rows * side, self.columns * side)

    def crop(self, padded: torch.Tensor) -> torch.Tensor:
        """What `join` made of a grid's own blocks, without the padding: (n, C, H, W)."""
        left, _, top, _ = self._padding()
        return padded[:, :, top : top + self.image[1], left : left + self.image[2]]

    def undisguised(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, C, H, W) padded and enlarged as disguised ones are, but otherwise plain."""
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
    """The grid that a disguise of this kind and size works on."""
    settings = sized.settings
    enlargement = settings.enlargement if isinstance(settings, Aes) else 1
    return Grid(sized.image, settings.block, enlargement)


def enlarge(blocks: torch.Tensor, times: int) -> torch.Tensor:
    """Each pixel of (..., side, side) repeated `times` times in both directions."""
    return blocks.repeat_interleave(times, -1).repeat_interleave(times, -2)


def _check(images: torch.Tensor, shape: tuple[int, int, int]) -> None:
    if images.ndim != 4 or tuple(images.shape[1:]) != shape:
        raise ValueError(f"images must be (n, {', '.join(map(str, shape))})")
