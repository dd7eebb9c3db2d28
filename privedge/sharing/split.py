"""Split one secret into two additive shares over Z_2^64.

Notation: [x]_0 + [x]_1 = x (mod 2^64).

Each share alone is uniformly random, so party i learns nothing from [x]_i. That holds only while
the mask comes from the operating system's generator and is never used twice.
"""

import os

import numpy as np

from privedge.sharing.ring import Words


def split(secret: Words) -> tuple[Words, Words]:
    """Return ([x]_0, [x]_1), uint64, for x = `secret`, uint64 of any shape."""
    mask = np.frombuffer(os.urandom(secret.nbytes), dtype=np.uint64).reshape(secret.shape)
    return mask, secret - mask
