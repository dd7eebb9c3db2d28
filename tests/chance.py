"""How far from chance a statistic may be, and how far the bytes of some words are from uniform.

Much that privedge hides must look random, and tests look at tens of thousands of statistics of what
is freshly random. At five standard deviations each, one of them would fail by chance in one run of
the suite in a hundred, so the bound of five is that of all together (Bonferroni).
"""

from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()
# More than one run of the suite looks at.
_LOOKS = 100_000
# What each of them stays below: 6.9.
SIGMAS = -_NORMAL.inv_cdf(_NORMAL.cdf(-5) / _LOOKS)
_FREEDOM = 255


def chi_square(words: np.ndarray, shift: int) -> float:
    """How far one byte of these words (uint64) is from uniform, in standard deviations."""
    byte = (words.reshape(-1) >> np.uint64(shift)) & np.uint64(255)
    return from_uniform(np.bincount(byte.astype(int), minlength=256))


def from_uniform(counts: np.ndarray) -> float:
    """How far the counts of 256 values are from even ones, in standard deviations.

    A chi-square statistic has a longer tail than a normal one; its cube root has not (Wilson and
    Hilferty, 1931).
    """
    expected = counts.sum() / 256
    statistic = ((counts - expected) ** 2 / expected).sum()
    spread = 2 / (9 * _FREEDOM)
    return float((np.cbrt(statistic / _FREEDOM) - (1 - spread)) / np.sqrt(spread))


def fair(bits: np.ndarray) -> bool:
    """Whether about half of these bits (0 or 1, of any shape) are 1."""
    return bool(abs(bits.mean() - 0.5) < SIGMAS * 0.5 / np.sqrt(bits.size))
