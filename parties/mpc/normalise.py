"""Whole-sample normalisation: (x - mean) / (deviation + eps) * gamma + beta, 14 rounds.

    1.  m = mean of x,  s = sum((x - m)^2)                      one number per sample and owner
    2.  in which of some 400 public intervals is s?             one call: all bounds side by side
    3.  q = 1 / (sqrt(s / n) + eps)                             a parabola per interval
    4.  (x - m) * (q * gamma) + beta

Each factor two of s is cut in eight, so a parabola in s is off by less than 2^-15 of q. Newton's
steps would need more rounds, and a second division, because eps is outside the root. The interval
stays secret: its coefficients are a public table times secret bits. All steps but the first and the
last work on (B, N) numbers. Rounds are counted in docs/protocol.md#normalisation.

Ranges: the sum of the squares of a sample and owner must stay below 2^30. So the root mean square
of 2^16 values must stay below 128, for instance, and that of 2^8 values below 2,048. A deviation
below 2^-14, which is that of values one unit apart, counts as 2^-14, so a constant sample gives
beta. |gamma| * q must stay below 2^16: with eps = 0.001 it does for |gamma| < 64. The result must
stay below 2^20.
"""

import math
from dataclasses import dataclass
from functools import cache

import torch

from parties.mpc.engine import Engine, T
from privedge.sharing.fixed_point import FRACTIONAL_BITS, SCALE

# s < 2^30 at scale 2^32.
_TOP = 62
# Into how many equal intervals each factor two of s is cut.
_PARTS = 8
# Where the outer points of a parabola are, in half intervals from its middle (Chebyshev has .866).
_REACH = 0.875
# The least deviation that is told apart is 2^-14, which is a variance of 2^4 at scale 2^32.
_LEAST_VARIANCE = 4
# s is shifted to [2^61, 2^62), then truncated to [1, 2) with this many fractional bits.
_MANTISSA = 20
# Fractional bits of the coefficients, and of q * gamma after the truncations by _MANTISSA.
_COEFFICIENT = 30
_QUOTIENT = _COEFFICIENT + FRACTIONAL_BITS - _MANTISSA
# 1 / n is a whole number of this many bits or one more, over a power of two.
_INVERSE = 20


@dataclass(frozen=True)
class _Table:
    """Public constants, int64.

    bounds   (M,): the upper ends of all intervals but the last
    rows     (M + 1, 5), for each interval: the factor that moves s to [2^61, 2^62); the middle of
             what it gives, at _MANTISSA; and c0, c1, c2 of the parabola around that middle, at
             _COEFFICIENT
    """

    bounds: torch.Tensor
    rows: torch.Tensor

    @property
    def steps(self) -> torch.Tensor:
        """(M, 5): what each bound adds to the last row if the value is below it."""
        return self.rows[:-1] - self.rows[1:]


def normalised(engine: Engine[T], x: T, affine: tuple[T, T], eps: float) -> T:
    """x: (B, N, *shape) at f; `affine`: gamma and beta, (N, 1) at f. Returns x's shape at f.

    14 rounds. Nothing is opened but masked values inside the engine's operations.
    """
    batch, owners = x.size(0), x.size(1)
    gamma, beta = affine
    values = x.reshape(batch, owners, -1)
    # 1. The mean: a local sum times a public 1 / n, truncated in one round. Then the squares of
    #    what is left, in one round, and their local sum s at 2f.
    centred = values - _mean(engine, values).unsqueeze(2)
    energy = engine.square(centred).sum(2)
    # 2., 3. gamma / (deviation + eps), ten rounds on one number per sample and owner.
    quotient = _reciprocal(engine, energy, gamma.reshape(1, owners, 1), (values.size(2), eps))
    # 4. One product for every value, and one truncation: two rounds.
    product = engine.multiply(centred, quotient.unsqueeze(2))
    normed = engine.truncate(product, bits=_QUOTIENT) + beta.unsqueeze(0)
    whole: T = normed.reshape(*x.size())
    return whole


def _mean(engine: Engine[T], values: T) -> T:
    """(B, N, n) at f -> (B, N) at f. One round."""
    count = values.size(2)
    bits = _INVERSE + (count - 1).bit_length()
    total = engine.scaled(values.sum(2), round((1 << bits) / count))
    return engine.truncate(total, bits=bits)


def _reciprocal(engine: Engine[T], energy: T, gamma: T, of: tuple[int, float]) -> T:
    """energy: sums of n squares (B, N) at 2f; gamma: (1, N, 1) at f; `of`: n and eps.

    Returns gamma / (sqrt(energy / n) + eps), (B, N) at _QUOTIENT. Ten rounds.
    """
    # 4 rounds: is s below each of the public bounds? All are asked, whatever s is, and the bits
    # stay shares.
    batch, owners = energy.size()
    table = _table(*of)
    number = energy.unsqueeze(2)
    gaps = engine.plus(number.expand(batch, owners, len(table.bounds)), -table.bounds)
    below = engine.negative(gaps)
    # Local: the bits times the differences of the table's rows add up to the row of s's interval.
    chosen = engine.plus(engine.combination(below, table.steps), table.rows[-1])
    shift, middle, parabola = chosen[:, :, :1], chosen[:, :, 1:2], chosen[:, :, 2:]
    # 2 rounds: s moved to [1, 2) by its interval's factor, and where it is from the middle of that.
    mantissa = engine.truncate(engine.multiply(number, shift), bits=_TOP - 1 - _MANTISSA)
    away = mantissa - middle
    # 4 rounds: away^2 and gamma * (c0, c1, c2), truncated; then c1 * away + c2 * away^2, truncated
    # together with c0, all times gamma.
    factors = engine.joined([away, gamma.expand(batch, owners, 3)], 2)
    terms = engine.multiply(engine.joined([away, parabola], 2), factors)
    terms = engine.truncate(terms, bits=_MANTISSA)
    powers = engine.joined([away, terms[:, :, :1]], 2)
    bent = engine.multiply(powers, terms[:, :, 2:]).sum(2)
    whole = engine.scaled(terms[:, :, 1], 1 << _MANTISSA) + bent
    return engine.truncate(whole, bits=_MANTISSA)


@cache
def _table(count: int, eps: float) -> _Table:
    """For sums of `count` squares at 2f.

    Both parties must have the same table to the last bit, so it is made with operations whose
    rounding IEEE 754 fixes on every machine: no powers, no linear algebra.
    """
    lowest = _LEAST_VARIANCE + (count - 1).bit_length()
    octaves = [1 << exponent for exponent in range(lowest, _TOP)]
    bounds = [octave // _PARTS * (_PARTS + part) for octave in octaves for part in range(_PARTS)]
    first = _quotient(bounds[0], count, eps)
    # Below the first bound no parabola: it would follow the root to its steep end.
    rows = [[1, 0, round(first * (1 << _COEFFICIENT)), 0, 0]]
    uppers = [*bounds[1:], 1 << _TOP]
    rows += [_interval(a, b, count, eps) for a, b in zip(bounds, uppers, strict=True)]
    return _Table(torch.tensor(bounds), torch.tensor(rows))


def _quotient(energy: float, count: int, eps: float) -> float:
    return 1 / (math.sqrt(energy / count) / SCALE + eps)


def _interval(lower: int, upper: int, count: int, eps: float) -> list[int]:
    """One row of the table, for sums from `lower` to `upper` at 2f: the parabola goes through three
    points, the outer ones just within the interval's ends.
    """
    middle, away = (lower + upper) / 2, (upper - lower) / 2 * _REACH
    shift = 1 << (_TOP - lower.bit_length())
    # In units of what the shift and the truncation make of s: from 1 to 2.
    unit = shift / (1 << (_TOP - 1))
    below, at, above = (_quotient(middle + d, count, eps) for d in (-away, 0, away))
    slope = (above - below) / (2 * away * unit)
    bend = (above - 2 * at + below) / (2 * (away * unit) * (away * unit))
    fitted = [round(c * (1 << _COEFFICIENT)) for c in (at, slope, bend)]
    return [shift, round(middle * unit * (1 << _MANTISSA)), *fitted]
