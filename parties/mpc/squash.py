"""Output activations that keep values within [-1, 1], made of saturated pieces. Four to six rounds.

    u = min(max(x, a), b) - a = relu(x - a) - relu(x - b)          for every piece [a, b]
    clip(x) = u - 1                                                for the one piece [-1, 1]
    tanh(x) ~ -T + sum(slope * u + bend * u^2)                     for ten pieces

A piece is never larger than its width, whatever x is, so nothing here grows with x: x may be
anything a ReLU may be. All relus of all pieces are one call, so they are four rounds together, and
nothing else is opened (docs/protocol.md#output-activations).
"""

from itertools import pairwise

import torch

from parties.mpc.engine import Engine, T
from privedge.sharing.fixed_point import FRACTIONAL_BITS

_TWICE = 2 * FRACTIONAL_BITS

# The positive half of an odd spline, from 0 on. It is fitted by linear programming (knots by
# simplex search), so that its greatest error is least: 0.00076. From the last knot on it is
# constant, as tanh is to within that error. Knots are in 1/256, slopes and bends in 2^-16.
_KNOTS = (0, 105, 292, 431, 616, 947)
_KNOT_BITS = 8
_SLOPES = (66937, 55216, 21069, 7628, 1560)
_BENDS = (-11516, -23358, -12400, -4198, -612)


def clipped(engine: Engine[T], x: T) -> T:
    """max(-1, min(1, x)) at f, in x's shape, of x at 2f, any shape, |x| < 2^47. Four rounds."""
    one = 1 << FRACTIONAL_BITS
    pieces = _pieces(engine, x, [-one << FRACTIONAL_BITS, one << FRACTIONAL_BITS])
    whole: T = engine.plus(pieces, torch.tensor(-one)).reshape(*x.size())
    return whole


def hyperbolic_tangent(engine: Engine[T], x: T) -> T:
    """tanh(x) at f to within 0.001, in x's shape, of x at 2f, any shape, |x| < 2^47. Six rounds."""
    # Four rounds for the pieces.
    knots, slopes, bends, lowest = _spline()
    pieces = _pieces(engine, x, knots)
    # One round for their squares. Slopes and bends are public, so products with them are local. All
    # is at 3f: u at f times slopes at 2f, u^2 at 2f times bends at f.
    straight = engine.combination(pieces, torch.tensor(slopes).unsqueeze(1) << FRACTIONAL_BITS)
    bent = engine.combination(engine.square(pieces), torch.tensor(bends).unsqueeze(1))
    total = engine.plus(straight + bent, torch.tensor(lowest))
    # One round for the truncation from 3f to f.
    whole: T = engine.truncate(total, bits=_TWICE).reshape(*x.size())
    return whole


def _pieces(engine: Engine[T], x: T, knots: list[int]) -> T:
    """x (any shape) and K `knots` at 2f -> (elements, K - 1) at f: u of each piece between
    neighbouring knots. Four rounds.
    """
    # relu(x - knot) for every knot, truncated; the difference of two neighbours is a piece.
    count = x.size().numel()
    shifted = engine.plus(x.reshape(count, 1).expand(count, len(knots)), -torch.tensor(knots))
    positive = engine.relu_and_value(shifted)[0]
    pieces: T = positive[:, :-1] - positive[:, 1:]
    return pieces


def _spline() -> tuple[list[int], list[int], list[int], int]:
    """The whole odd spline: K knots at 2f, K - 1 slopes and bends at f, and its least value at 3f.

    A negative piece is the mirror of a positive one of width h: with h - u in place of u,
    -(slope * u + bend * u^2) becomes (slope + 2 bend h) u - bend u^2 and a constant.
    """
    half = [knot << (FRACTIONAL_BITS - _KNOT_BITS) for knot in _KNOTS]
    widths = [b - a for a, b in pairwise(half)]
    rows = list(zip(_SLOPES, _BENDS, widths, strict=True))
    mirrored = [slope + (2 * bend * width >> FRACTIONAL_BITS) for slope, bend, width in rows]
    top = sum((slope << FRACTIONAL_BITS) * width + bend * width**2 for slope, bend, width in rows)
    knots = [-knot for knot in reversed(half[1:])] + half
    return (
        [knot << FRACTIONAL_BITS for knot in knots],
        [*reversed(mirrored), *_SLOPES],
        [-bend for bend in reversed(_BENDS)] + list(_BENDS),
        -top,
    )
