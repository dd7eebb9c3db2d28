"""Bound how far rounding can move a private score from the plaintext fixed-point score.

Sees plaintext. The plaintext model truncates to the floor. A private truncation gives the floor of
its input or one unit more (docs/protocol.md#truncation). Its input already differs from the
plaintext one, because of the truncations before it. So beside the difference that it passes on, a
private truncation adds s units to the plaintext result. Its own rounding is between -1 and 1, and
the plaintext's rounding, which is subtracted, is between -1 and 0; so -1 < s < 2. The error of a
dissimilarity d is then

    sum(s_i * slope_i) + the effect of changing slopes

where slope_i is the derivative of d by an addition after the i-th truncation, in the plaintext run.
The first term is at most the sum of max(2 slope_i, -slope_i), and at least minus the sum of
max(slope_i, -2 slope_i), for all random numbers of the dealer. The slopes come from differentiating
the network itself, so every path from a truncation to d counts, with its sign.

For subspace* presets the bounds are exact. There is one truncation on each path: d depends on q, a
component of V(x - m), through -q^2, and the input of the truncation that gives q is the same in
every run. So s is 0 or 1, and moves d by -s (2 q + 1); the sums of these are the bounds. |x|^2 is
truncated from a multiple of 2^16, which is exact.

For all other presets the first term is enlarged by an eighth, to cover the changing slopes:

* ran* have one layer of ReLUs. Its truncations too have the same input in every run, so s is 0 or
  1. It reaches the next layer whole if the floor is not negative, and else not at all, just as the
  slope says. Everything after that is linear up to the last square, (q + e)^2 = q^2 + 2 q e + e^2,
  where q is a reconstruction error and e the error of q by rounding. The e^2 are not in the first
  term. They are below an eighth of it, unless a model reconstructs almost as exactly as the
  arithmetic can represent.
* conv* have several layers. In addition, a ReLU can switch if rounding moves its input across zero.
  Then its output differs from what the slope says by no more than that move.
* paper has normalisation in addition. Its slopes change by the curvature of 1 / (deviation + eps)
  over the range in which rounding moves the deviation. This quotient also jumps, by at most 2^-15
  of it, where the sum of squares crosses into the next interval of the table (mpc/normalise.py).

So the bound is proved for subspace*, and for the others to first order. Rounding moves values by
some 2^-14 to 2^-9 of their size, and slopes change by about as much; an eighth is 2^-3.
tests/unit/reference/test_rounding.py makes every truncation round the worse way, for every layer
kind. It finds that d moves by the sum of its slopes to within a few percent, and never by more than
the bound.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from parties.mpc.engine import Weight
from parties.mpc.network import Network
from parties.mpc.products import apply
from parties.mpc.window import Window
from privedge.ran.spec import RanSpec, Subspace
from privedge.sharing.fixed_point import FRACTIONAL_BITS

Parameters = dict[str, torch.Tensor]
# The distance to the lower bound, and to the upper bound.
Reach = tuple[torch.Tensor, torch.Tensor]

# A truncation moves the result down by less than _LEAST units, or up by less than _MOST.
_LEAST, _MOST = 1, 2
# The factor by which the first-order bound is enlarged.
_MARGIN = 1.125
# Owners differentiated at once: bounds memory.
_OWNERS = 16


def reach(spec: RanSpec, parameters: Parameters, images: torch.Tensor) -> Reach:
    """Bound how far below and above the plaintext dissimilarities private ones can be.

    parameters: name -> int64 (N, *shape) at scale f.
    images: features, int64 (B, *input_shape) at scale f.

    Returns two float64 (B, N), at least 0, in units of 2^-32 (scale 2f).
    """
    if isinstance(spec.layers[0], Subspace) and len(spec.layers) == 1:
        return _of_closed_form(parameters, images)
    falls, rises = [], []
    for image in images.unsqueeze(1):
        runs = [
            slopes(spec, {name: part[at] for name, part in parameters.items()}, image)
            for at in _runs(parameters)
        ]
        falls.append(torch.cat([_sums(-run) for run in runs]))
        rises.append(torch.cat([_sums(run) for run in runs]))
    fall, rise = _MARGIN * torch.stack(falls), _MARGIN * torch.stack(rises)
    return _MOST * fall + _LEAST * rise, _MOST * rise + _LEAST * fall


def slopes(spec: RanSpec, parameters: Parameters, image: torch.Tensor) -> torch.Tensor:
    """Differentiate each owner's dissimilarity by an addition after each truncation.

    image: features of one image, int64 (1, *input_shape) at scale f.

    Returns float64 (N, truncations in order): the change of the dissimilarity to first order, in
    units of 2^-32, for an addition of 1.
    """
    additions: list[torch.Tensor] = []

    def nothing(shape: torch.Size) -> torch.Tensor:
        additions.append(torch.zeros(shape, dtype=torch.float64, requires_grad=True))
        return additions[-1]

    distances = rounded(spec, parameters, image, nothing)
    # No addition affects two owners' dissimilarities, so one pass finds all slopes.
    found = torch.autograd.grad(distances.sum(), additions, materialize_grads=True)
    owners = distances.size(1)
    # With one image, values are in order of owner.
    return torch.cat([each.reshape(owners, -1) for each in found], 1)


def rounded(
    spec: RanSpec,
    parameters: Parameters,
    images: torch.Tensor,
    additions: Callable[[torch.Size], torch.Tensor],
) -> torch.Tensor:
    """Return the plaintext dissimilarities, float64 (B, N) at scale 2f, with added rounding.

    `additions` is called after each truncation, in order, with the shape of its result. It returns
    what to add, float64, in units of that result.
    """
    reals = {name: values.double() for name, values in parameters.items()}
    return Network(spec, reals, _RoundedEngine(additions)).dissimilarity(images.double())


def _of_closed_form(parameters: Parameters, images: torch.Tensor) -> Reach:
    basis, means = parameters["0.basis"], parameters["0.mean"].unsqueeze(1)
    flat = images.reshape(1, images.size(0), -1)
    along = apply("dense", flat, basis) - apply("dense", means, basis)
    steps = (2 * (along >> FRACTIONAL_BITS) + 1).double().transpose(0, 1)
    return _sums(steps), _sums(-steps)


def _sums(steps: torch.Tensor) -> torch.Tensor:
    """Add up the positive values along the last dimension."""
    return steps.clamp(min=0).sum(-1)


def _runs(parameters: Parameters) -> Iterator[slice]:
    owners = parameters["threshold"].size(0)
    return (slice(start, start + _OWNERS) for start in range(0, owners, _OWNERS))


class _RoundedEngine:
    """mpc.engine.Engine over whole float64 numbers, with an addition after each truncation.

    It has derivatives; for these, a truncation counts as a division.
    """

    def __init__(self, additions: Callable[[torch.Size], torch.Tensor]) -> None:
        """Make an engine. `additions` is described at `rounded`."""
        self._additions = additions

    def scaled(self, x: torch.Tensor, factor: int) -> torch.Tensor:
        return x * factor

    def combination(self, x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        return x @ matrix.double()

    def plus(self, x: torch.Tensor, constant: torch.Tensor) -> torch.Tensor:
        return x + constant.double()

    def padded(self, x: torch.Tensor, padding: tuple[int, ...], value: int = 0) -> torch.Tensor:
        return torch.nn.functional.pad(x, padding, value=value)

    def joined(self, parts: list[torch.Tensor], dim: int) -> torch.Tensor:
        return torch.cat(parts, dim=dim)

    def multiply(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * y

    def square(self, x: torch.Tensor) -> torch.Tensor:
        return x * x

    def truncated_square(self, x: torch.Tensor) -> torch.Tensor:
        return self.square(self.truncate(x))

    def dense(self, x: torch.Tensor, weight: Weight[torch.Tensor]) -> torch.Tensor:
        return x @ weight.number.transpose(1, 2)

    def dense_each(
        self, x: torch.Tensor, weights: list[Weight[torch.Tensor]]
    ) -> list[torch.Tensor]:
        return [self.dense(x, weight) for weight in weights]

    def dense_back(self, x: torch.Tensor, weight: Weight[torch.Tensor]) -> torch.Tensor:
        return x @ weight.number

    def convolve(
        self, x: torch.Tensor, weight: Weight[torch.Tensor], window: Window
    ) -> torch.Tensor:
        framed = window.frame(x)
        batch, groups, channels, *size = framed.shape
        owners, out, *kernel = weight.number.shape
        maps = torch.conv2d(
            framed.reshape(batch, groups * channels, *size),
            weight.number.reshape(owners * out, *kernel),
            stride=window.stride,
            groups=groups,
        )
        return maps.reshape(batch, owners, out, *maps.shape[2:])

    def truncate(self, x: torch.Tensor, *, bits: int = FRACTIONAL_BITS) -> torch.Tensor:
        quotient = x / (1 << bits)
        exact = quotient.detach()
        # The value is the floor; the derivative is that of the division.
        return exact.floor() + (quotient - exact) + self._additions(x.shape)

    def widened(self, x: torch.Tensor, *, bits: int) -> torch.Tensor:
        return x

    def relu_and_value(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = self.truncate(x)
        return value.clamp(min=0), value

    def negative(self, x: torch.Tensor, *, bits: int = 63) -> torch.Tensor:
        return (x < 0).double()

    def lesser(
        self, first: torch.Tensor, second: torch.Tensor, *, bits: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        later = self.negative(second[:, 0] - first[:, 0])
        row = first + later.unsqueeze(1) * (second - first)
        return row, first[:, 0] + second[:, 0] - row[:, 0], later

    def chosen(
        self, index: torch.Tensor, values: torch.Tensor, *, below: int, places: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hot = torch.stack([(index == place).double() for place in range(places)])
        return hot, hot.unsqueeze(2) * values

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def constant(self, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        return compute()
