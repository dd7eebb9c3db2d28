"""Vectors in place of pictures: check them, and bring them to unit length.

Sees plaintext vectors: for the owner's and the client's device only. Nothing is guessed or scaled
silently: a wrong type, size or range is an ImageError that says what to do.
"""

import math
from collections.abc import Sequence
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
# Rounded to steps of 2^-16, a shorter vector says little more than that it is short.
SHORTEST = 1 / 64
# The rule for strangers adds a slack to every error (narrow.norms): where all vectors are so short,
# or so near each other, that errors are below it, nobody is ever named.
LEAST_APART, LEAST_APART_IN_UNITS = 1 / 4, 1 / 64

_LONGER = (
    "scale all vectors, those of other owners and of queries too, alike by public numbers, or use "
    "unit length"
)
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
    too long or too short for the fixed-point ring.
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
    if bad := _numbers(lengths[:, 0] < SHORTEST):
        raise ImageError(
            f"vectors: the length (root of the sum of squares) is below 1/64 in vector {bad}, too "
            f"short for numbers in steps of 2^-16; {_LONGER}, or leave out vectors of zeros"
        )
    return vectors


def require_usual_length(features: npt.NDArray[np.float32], *, of_encoder: bool = False) -> None:
    """Raise ImageError if one owner's features, (n, ...) without unit length, are too short to be
    told from another owner's: their root mean square length is below LEAST_APART.

    of_encoder: whether a public encoder made them, and nobody can scale them.
    """
    if _root_mean_square(features) < LEAST_APART:
        what = "what the encoder gives" if of_encoder else "vectors"
        cure = "use a spec with unit length (`privedge encoder wrap`)" if of_encoder else _LONGER
        raise ImageError(
            f"{what}: the lengths (root of the sum of squares) are below 1/4 on average, and the "
            f"rule for strangers would call everybody unknown; {cure}"
        )


def require_apart(features: Sequence[npt.NDArray[np.float32]], *, unit_length: bool) -> None:
    """Raise ImageError if the features, (n, ...), of several owners hardly differ.

    Their root mean square distance from the mean of all must be LEAST_APART, or with unit length
    LEAST_APART_IN_UNITS.
    """
    whole = np.concatenate([each.reshape(len(each), -1) for each in features]).astype(np.float64)
    least = LEAST_APART_IN_UNITS if unit_length else LEAST_APART
    if _root_mean_square(whole - whole.mean(axis=0)) >= least:
        return
    scaled = "" if unit_length else ", and scale all by public numbers"
    raise ImageError(
        "vectors: those of all owners are so near each other that the rule for strangers would "
        f"call everybody unknown; take the same public mean from all{scaled}"
    )


def _root_mean_square(rows: npt.NDArray[Any]) -> float:
    """The root mean square length of rows, (n, ...)."""
    return float(np.sqrt(np.square(rows, dtype=np.float64).sum() / max(len(rows), 1)))


def _numbers(which: npt.NDArray[np.bool_]) -> str:
    """Name the first vectors that are concerned, or return "" if there are none."""
    found = np.flatnonzero(which)
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0]}{more}" if len(found) else ""
