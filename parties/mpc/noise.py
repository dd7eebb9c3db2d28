"""Noise for sums that are opened: the discrete Laplace distribution, drawn exactly.

P(x) is proportional to exp(-|x| / scale) for whole x. With scale = sensitivity / epsilon, a sum
with this noise is epsilon-differentially private. The sampler is that of C. Canonne, G. Kamath and
T. Steinke (The discrete Gaussian for differential privacy, 2020, algorithms 1 and 2): whole numbers
only, from the operating system's randomness, so no rounding of floats tells anything.
"""

import secrets
from fractions import Fraction


def discrete_laplace(scale: Fraction) -> int:
    """Draw one value. `scale` is more than 0; its variance is about 2 * scale^2."""
    while True:
        # A geometric number of units of 1 / denominator, with ratio exp(-1 / numerator).
        rest = secrets.randbelow(scale.numerator)
        if not _bernoulli_exp(Fraction(rest, scale.numerator)):
            continue
        whole = 0
        while _bernoulli_exp(Fraction(1)):
            whole += 1
        size = (rest + scale.numerator * whole) // scale.denominator
        negative = secrets.randbelow(2)
        if size or not negative:  # or 0 would come twice as often
            return -size if negative else size


def _bernoulli_exp(minus: Fraction) -> bool:
    """True with probability exp(-minus), for 0 <= minus <= 1."""
    step = 1
    while secrets.randbelow(minus.denominator * step) < minus.numerator:
        step += 1
    return step % 2 == 1
