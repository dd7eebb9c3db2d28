"""Who multiplies wide matrices: the kernels, or torch, which is faster on some processors.

With AVX-512 torch has a product of 64-bit integers of its own; without, it is some ten times slower
than the kernels. So it is measured once, when a server starts. The choice depends on shapes and on
that measurement, never on values, and both give the same words.
"""

import time
from collections.abc import Callable

import numpy as np
import torch

from parties.mpc.compiled import products

# Rows, inner extent and columns of the product that is measured.
_MEASURED = (64, 512, 256)
_REPEATS = 3


def torch_is_faster() -> bool:
    """Whether torch multiplied wide matrices faster, best of three in turn: some milliseconds."""
    rows, inner, columns = _MEASURED
    # Zeros would do: no instruction here takes longer for one value than for another.
    left = torch.zeros(rows, inner, dtype=torch.int64)
    right = torch.zeros(inner, columns, dtype=torch.int64)
    x = right.numpy().view(np.uint64).reshape(1, 1, -1)
    w, maps = np.zeros((1, rows * inner), np.uint64), np.zeros((1, 1, rows, columns), np.uint64)
    pixels = np.arange(columns, dtype=np.uint64)
    taps = np.arange(inner, dtype=np.uint64) * np.uint64(columns)
    rest = (taps, pixels, pixels, np.uint64(0), False, 0, 1)
    ours, theirs = [], []
    for _ in range(_REPEATS):
        ours.append(_seconds(lambda: products.convolve(x, w, maps, *rest)))
        theirs.append(_seconds(lambda: left @ right))
    return min(theirs) < min(ours)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
