"""Draw arrays as pictures, and encode pictures as data URIs for the page. Keeps no secrets."""

import io
import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from privedge.arrays import Features
from privedge.ran.feature_kinds import Oriented, OrientedCentre, OrientedScales, Pixels
from privedge.ran.spec import RanSpec
from privedge.sharing.ring import Words
from privedge_lab.pages import page

Pixmap = npt.NDArray[np.uint8]

# The side of one cell of the oriented maps, and half the width of its strokes, in pixels.
_CELL = 12
_STROKE = 0.8
# Oriented maps are square roots of shares of a cell's gradient; this share is drawn white.
_BRIGHT = 1.2


def data_uri(pixmap: Pixmap) -> str:
    """Encode uint8 (H, W) or (H, W, 3) as an inline PNG."""
    file = io.BytesIO()
    Image.fromarray(pixmap).save(file, "PNG", optimize=True)
    return page.data_uri("png", file.getvalue())


def drawn(spec: RanSpec, features: Features) -> Pixmap:
    """Draw features or their reconstruction, (*spec.input_shape), as uint8 (H, W) or (H, W, 3)."""
    match spec.features:
        case Pixels():
            channels_last = features.transpose(1, 2, 0)
            return _bytes((channels_last + 1) / 2).squeeze()
        case Oriented():
            return _strokes(features)
        case OrientedScales(directions=directions) | OrientedCentre(directions=directions):
            return _strokes(features[:directions])  # the sharpest maps, by convention the first
        case _:
            return _square(_bytes(features / max(float(features.max()), 1e-9)))


def noise(share: Words) -> Pixmap:
    """Draw a share: the top byte of every word, uint8, as a grey square."""
    return _square((share >> np.uint64(56)).astype(np.uint8))


def _strokes(maps: Features) -> Pixmap:
    """Draw oriented maps (D, H, W): in each cell, the edges of every direction.

    Brightness is an edge's strength. The gradient of direction d is at 360 d / D degrees; its edge
    is perpendicular to it.
    """
    middle = (np.arange(_CELL) - (_CELL - 1) / 2).astype(np.float32)
    down, right = np.meshgrid(middle, middle, indexing="ij")
    canvas = np.zeros((*maps.shape[1:], _CELL, _CELL), np.float32)
    for direction, strength in enumerate(maps):
        angle = direction * math.tau / len(maps)
        away = np.abs(right * math.cos(angle) + down * math.sin(angle))
        stroke = np.clip(_STROKE + 0.5 - away, 0, 1) * (np.hypot(down, right) < _CELL / 2)
        canvas = np.maximum(canvas, strength[:, :, None, None].clip(min=0) ** 2 * stroke)
    rows, columns = maps.shape[1:]
    picture = canvas.transpose(0, 2, 1, 3).reshape(rows * _CELL, columns * _CELL)
    return _bytes(picture / _BRIGHT)


def _square(values: Pixmap) -> Pixmap:
    """Arrange any number of values as the smallest square that holds them."""
    side = math.isqrt(values.size - 1) + 1
    square = np.zeros(side * side, np.uint8)
    square[: values.size] = values.reshape(-1)
    return square.reshape(side, side)


def _bytes(values: npt.NDArray[np.floating]) -> Pixmap:
    """Map 0 to 1 to 0 to 255."""
    scaled: Pixmap = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return scaled
