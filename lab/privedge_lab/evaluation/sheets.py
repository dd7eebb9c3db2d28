"""Contact sheets: originals and what attacks made of them, in rows with captions (PNG).

Pictures of private images: an experiment's, never a deployment's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from privedge import regular_file
from privedge.errors import ImageError
from privedge_lab import outputs

Pixmap = npt.NDArray[np.uint8]

GAP, CAPTION_WIDTH = 2, 230
# Rows of small images are enlarged, by whole pixels, to at least this height.
_ROW_HEIGHT = 48
_PAPER, _INK = 255, 0


@dataclass(frozen=True)
class Row:
    """A caption and a strip (strip below)."""

    caption: str
    strip: Pixmap


def strip(images: torch.Tensor) -> Pixmap:
    """Images float32 (n, C, H, W) in [0, 1] side by side: uint8 (H, n * (W + GAP) - GAP, 3)."""
    drawn = images.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    count, height, width, channels = drawn.shape
    canvas = np.full((height, count * (width + GAP), 3), _PAPER, np.uint8)
    for number, picture in enumerate(drawn):
        start = number * (width + GAP)
        # A grey picture's one channel goes to all three.
        canvas[:, start : start + width] = picture if channels == 3 else picture[..., :1]
    return canvas[:, : canvas.shape[1] - GAP]


def sheet(rows: Sequence[Row]) -> Pixmap:
    """The rows below each other, captions to their left: uint8 (height, width, 3).

    Raises ImageError if the strips differ in size.
    """
    sizes = {row.strip.shape for row in rows}
    if len(sizes) != 1:
        raise ImageError("a contact sheet needs rows, all of one size")
    height, width = rows[0].strip.shape[:2]
    times = max(1, -(-_ROW_HEIGHT // height))
    page = Image.new(
        "RGB",
        (CAPTION_WIDTH + width * times, len(rows) * (height * times + GAP) - GAP),
        (_PAPER,) * 3,
    )
    pen, font = ImageDraw.Draw(page), ImageFont.load_default()
    for number, row in enumerate(rows):
        top = number * (height * times + GAP)
        enlarged = row.strip.repeat(times, axis=0).repeat(times, axis=1)
        page.paste(Image.fromarray(enlarged), (CAPTION_WIDTH, top))
        middle = (4, top + height * times // 2)
        pen.text(middle, row.caption, fill=(_INK,) * 3, font=font, anchor="lm")
    return np.asarray(page)


def captioned(pictures: Sequence[tuple[str, torch.Tensor]]) -> Pixmap:
    """A sheet of captions and images (n, C, h, w), enlarged to the size of the largest.

    Values from 0 to 1 are drawn as they are; a row that goes beyond is stretched to its own range.
    """
    heights, widths = zip(*(images.shape[2:] for _, images in pictures), strict=True)
    side = (max(heights), max(widths))
    return sheet([Row(caption, strip(_fitted(images, side))) for caption, images in pictures])


def _fitted(images: torch.Tensor, side: tuple[int, int]) -> torch.Tensor:
    values = images.float()
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / (high - low)
    return torch.nn.functional.interpolate(values, side, mode="nearest")


def save(pixmap: Pixmap, path: Path) -> None:
    """Write a PNG. Raises ConfigError for another file that is there."""
    outputs.require_replaceable(path, outputs.PICTURE)
    said = PngInfo()
    said.add_text("Software", outputs.SOFTWARE)
    Image.fromarray(pixmap).save(path, "PNG", optimize=True, pnginfo=said)


def load(path: Path) -> Pixmap:
    """uint8 (height, width, 3) of a PNG that `save` wrote. Raises ImageError."""
    try:
        with regular_file.opened(path) as file, Image.open(file) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError:
        raise ImageError(f"{path}: cannot be read as an image") from None
