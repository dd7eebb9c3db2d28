"""Encode real numbers as words: v becomes round(v * 2^f) in two's complement, f = 16.

The protocol sets the bound. A product of two encoded values has scale 2^(2f), and truncation and
comparison are exact only while it stays under 2^(L-1), L-1 = 47.
"""

import numpy as np
import numpy.typing as npt

from privedge.errors import RangeError
from privedge.sharing.ring import Words

FRACTIONAL_BITS = 16
SCALE = 1 << FRACTIONAL_BITS

# Values at scale 2^(2f) must stay under 2^MAGNITUDE_BITS in absolute value
# (docs/protocol.md#ranges).
MAGNITUDE_BITS = 47
# So one encoded value stays under 2^(47 - 2 * 16) = 2^15.
LIMIT = float(1 << (MAGNITUDE_BITS - 2 * FRACTIONAL_BITS))


def encode(values: npt.ArrayLike, *, what: str = "values") -> Words:
    """Round reals (any shape) to the nearest multiple of 2^-16; return words, uint64 of that shape.

    Raises RangeError, naming `what`, for NaN, infinity or an absolute value of LIMIT or more.
    """
    reals = np.asarray(values, dtype=np.float64)
    if not np.isfinite(reals).all():
        raise RangeError(f"{what}: NaN or infinity cannot be shared")
    if reals.size and float(np.abs(reals).max()) >= LIMIT:
        raise RangeError(f"{what}: a value reaches the limit of {LIMIT:g} of the fixed-point ring")
    return np.rint(reals * SCALE).astype(np.int64).view(np.uint64)


def decode(words: Words, *, fractional_bits: int = FRACTIONAL_BITS) -> npt.NDArray[np.float64]:
    """Decode words, uint64 of any shape, as signed fixed point: float64 of that shape.

    `fractional_bits` is 16, or 32 after one product.
    """
    return words.view(np.int64).astype(np.float64) / float(1 << fractional_bits)
