"""Pictures beside each other in one PNG: a row for each kind, a column for each image."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

_SCALE = 3
_GAP = 2


def write(rows: Sequence[torch.Tensor], path: Path) -> None:
    """Draw rows of images, each (n, C, h, w) with the same n, enlarged to one size.

    Values from 0 to 1 are drawn as they are; a row that goes beyond is stretched to its own range.
    """
    side = (max(row.shape[2] for row in rows), max(row.shape[3] for row in rows))
    drawn = [_row(row, side) for row in rows]
    sheet = torch.cat(drawn, dim=0)
    picture = sheet.repeat_interleave(_SCALE, 0).repeat_interleave(_SCALE, 1)
    Image.fromarray(picture.numpy()).save(path, "PNG", optimize=True)


def _row(images: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
    """uint8 (height, width, 3)"""
    values = images.float()
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / (high - low)
    values = torch.nn.functional.interpolate(values, side, mode="nearest")
    values = values.expand(-1, 3, -1, -1)
    framed = torch.nn.functional.pad(values, (0, _GAP, 0, _GAP), value=1.0)
    return (framed * 255).round().to(torch.uint8).permute(2, 0, 3, 1).flatten(1, 2)
