"""Pictures as arrays: check dtype and shape.

Sees plaintext images: for the owner's and the client's device only. A wrong dtype or layout would
give a confident wrong answer, so nothing is guessed. Only uint8 of a known layout is accepted. For
anything else an ImageError gives dtype, shape and the line of Python that converts the array.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.arrays import Pixels
from privedge.errors import ImageError

# With shorter sides, a picture could be mistaken for channels or for a row of numbers.
LEAST_SIDE = 5
# How far interpolation may leave the range of a picture.
_OVERSHOOT = 0.25

Array = npt.NDArray[Any]


def checked(images: Array, where: str = "") -> Pixels:
    """Return the pictures of an array as uint8 (n, H, W) for grey or (n, H, W, 3) for colour.

    images: uint8, 0 to 255, of any size: (n, H, W), (n, H, W, 1) or (n, H, W, 3). One picture,
        (H, W), (H, W, 1) or (H, W, 3), is a batch of one. An array (H, W, 3) is always one colour
        picture, and (3, H, W) three grey pictures.

    Raises ImageError, whose message begins with `where`.
    """
    cure = _cure_of_type(images) if images.dtype != np.uint8 else _cure_of_shape(images.shape)
    prefix = f"{where}: " if where else ""
    if cure is not None:
        raise ImageError(
            f"{prefix}images must be uint8 of shape (n, H, W) or "
            f"(n, H, W, 3), got {images.dtype} {images.shape}: {cure}"
        )
    if images.max() == 1:
        raise ImageError(
            f"{prefix}images hold only 0 and 1, and uint8 reaches to 255: images = images * 255"
        )
    batch = images[None] if _is_one(images.shape) else images
    return batch[..., 0] if batch.ndim == 4 and batch.shape[3] == 1 else batch


def _is_one(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))


def _cure_of_shape(shape: tuple[int, ...]) -> str | None:
    """Say how to correct the shape of a uint8 array. Returns None for an accepted shape."""
    if not 2 <= len(shape) <= 4:
        return "give one axis for the pictures, their height, their width and their channels"
    if 0 in shape:
        return "it holds no pixels"
    if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3):
        return "images = images.transpose(0, 2, 3, 1)"
    if len(shape) > 2 and shape[-1] in (2, 4):  # grey or RGB with opacity
        return f"images = images[..., {':3' if shape[-1] == 4 else '0'}]"
    if len(shape) == 4 and shape[3] not in (1, 3):
        return "the last axis must be 1 or 3 channels"
    sides = shape[:2] if _is_one(shape) else shape[1:3]
    if min(sides) >= LEAST_SIDE:
        return None
    return f"a picture has {LEAST_SIDE} pixels a side or more; vectors are floats of shape (n, D)"


def _cure_of_type(images: Array) -> str:
    """Return the line of Python that converts an array of another dtype to uint8."""
    kind = images.dtype.kind
    if kind in "US":
        return "these are names; give images.tolist()"
    if kind == "O":
        ragged = images.ndim == 1
        whole = "np.array(images.tolist(), 'uint8')"
        return f"images = {'[Image.fromarray(image) for image in images]' if ragged else whole}"
    if kind == "b":
        return "images = images.astype('uint8') * 255"
    if not images.size:
        return "it holds no pixels"
    if kind not in "fiu":
        return "give whole numbers from 0 to 255"
    if not np.isfinite(images).all():
        return "some are not finite; replace these first"
    scaled = _scaled(images)
    return f"images = {scaled}.astype('uint8')" if scaled else "bring the values to 0..255 first"


def _scaled(images: Array) -> str | None:
    """Return the expression that scales the values to 0..255, or None if none can be told.

    Only the range of the values shows their scale, so a line is given for common ranges alone.
    """
    low, high = float(images.min()), float(images.max())
    if images.dtype.kind in "iu":
        if low < 0:
            return None
        if high <= 1:
            return "(images * 255)"
        wider = int(high).bit_length() - 8
        return f"(images >> {wider})" if wider > 0 else "images"
    if low >= 0 and high <= 1:
        return "(images * 255).round()"
    if low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT:  # a resized picture in [0, 1]
        return "(images.clip(0, 1) * 255).round()"
    if low >= -1 and high <= 1:
        return "((images + 1) * 127.5).round()"
    return "images.clip(0, 255).round()" if low >= 0 else None
