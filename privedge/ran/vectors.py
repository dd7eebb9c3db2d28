"""Vectors in place of pictures: check them, and bring them to unit length.

Sees plaintext vectors: for the owner's and the client's device only. Nothing is guessed or scaled
silently: a wrong type, size or range is an ImageError that says what to do.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.arrays import Vectors
from privedge.errors import ImageError
from privedge.ran.feature_kinds import Vector
from privedge.sharing.fixed_point import LIMIT

# An error is at most the square of the distance between a vector and a mean of other vectors, so at
# most (2 * LONGEST)^2. It must stay below the limit of the fixed point, 2^15.
LONGEST = math.isqrt(int(LIMIT)) // 2

_CURES = {
    "i": "vectors = vectors.astype('float32')",
    "u": "vectors = vectors.astype('float32')",
    "b": "vectors = vectors.astype('float32')",
    "f": "vectors = vectors.astype('float64')",
    "c": "give the real and the imaginary parts as separate values",
    "O": "vectors = np.array(vectors.tolist(), 'float32')",
    "U": "give numbers",
    "S": "give numbers",
}


def is_like(array: npt.NDArray[Any]) -> bool:
    """Return whether an array can only be meant as vectors: floats on one or two axes."""
    return array.dtype.kind == "f" and array.ndim in (1, 2)


def checked(vectors: npt.NDArray[Any], where: str = "") -> Vectors:
    """Return vectors as float64 (n, D).

    vectors: float32 or float64, (n, D), or (D,) for a batch of one.

    Raises ImageError, whose message begins with `where`.
    """
    prefix = f"{where}: " if where else ""
    cure = None
    if vectors.dtype.kind == "u" and vectors.ndim > 2:
        cure = "these are pictures"
    elif vectors.dtype.kind != "f" or vectors.dtype.itemsize not in (4, 8):
        cure = _CURES.get(vectors.dtype.kind, "give numbers")
    elif vectors.ndim not in (1, 2):
        cure = "vectors = vectors.reshape(len(vectors), -1)"
    elif not vectors.size:
        cure = "it holds no values"
    if cure is not None:
        raise ImageError(
            f"{prefix}vectors must be float32 or float64 of shape (n, D), "
            f"got {vectors.dtype} {vectors.shape}: {cure}"
        )
    batch = np.atleast_2d(vectors)
    if bad := _numbers(~np.isfinite(batch).all(axis=1)):
        raise ImageError(f"{prefix}NaN or infinity in vector {bad}; replace or leave out these")
    return batch.astype(np.float64)


def features(vectors: Vectors, wanted: Vector, name: str) -> Vectors:
    """Return the features, float64 (n, D), of vectors that `checked` has accepted.

    name: the preset's, for messages.

    Raises ImageError for vectors of another size, of length zero that should get unit length, or
    too long for the fixed-point ring.
    """
    if vectors.shape[1] != wanted.size:
        raise ImageError(
            f"vectors: preset {name} takes {wanted.size} values each, these have {vectors.shape[1]}"
        )
    # hypot does not overflow, as the square of a large value would.
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    lengths = largest * np.linalg.norm(vectors / np.where(largest > 0, largest, 1), axis=1)[:, None]
    if wanted.unit_length:
        if bad := _numbers(lengths[:, 0] == 0):
            raise ImageError(f"vectors: all values are 0 in vector {bad}, so it has no unit length")
        return np.asarray(vectors / lengths, np.float64)
    if bad := _numbers(lengths[:, 0] > LONGEST):
        raise ImageError(
            f"vectors: the length (root of the sum of squares) is above {LONGEST} in vector {bad}; "
            "scale all vectors alike by public numbers, or use a preset with unit length"
        )
    return vectors


def _numbers(which: npt.NDArray[np.bool_]) -> str:
    """Name the first vectors that are concerned, or return "" if there are none."""
    found = np.flatnonzero(which)
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0]}{more}" if len(found) else ""
