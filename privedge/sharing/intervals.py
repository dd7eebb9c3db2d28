"""How sure a measured share is: the Wilson interval, and what can be resolved at all.

E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
American Statistical Association 22, 1927.
"""

import math

# Of the normal distribution: 95 % lie within so many deviations.
_DEVIATIONS = 1.959964


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of which `count` of `of` were seen; (0, 1) for none.

    It takes all as independent. Several pictures of one person are not, so the truth may lie
    further outside than the interval says.
    """
    if not of:
        return 0.0, 1.0
    z2, share = _DEVIATIONS**2, count / of
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = math.sqrt(share * (1 - share) / of + z2 / (4 * of * of)) * _DEVIATIONS / (1 + z2 / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def least_for(share: float) -> int:
    """Return how many must be seen before one of them is as little as `share`."""
    return math.ceil(1 / share - 1e-9)
