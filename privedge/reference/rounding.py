"""How far rounding can move a private score from the plaintext fixed-point one. Sees plaintext.

The plaintext model's truncations give the floor. A private one gives the floor or one unit more
(docs/protocol.md#truncation) of what it is given, and that is off already by what truncations
before it did. So beside what it passes on, it adds s units to the plaintext result: between -1 and
1 for its own rounding, less the plaintext's own between -1 and 0; so -1 < s < 2. A dissimilarity d
is then off by

    sum(s_i * slope_i) + what slopes change on the way

where slope_i is the derivative of d by an addition after the i-th truncation, at the plaintext run.
The first term is at most the sum of max(2 slope_i, -slope_i), and at least minus the sum of
max(slope_i, -2 slope_i), whatever the dealer's random numbers are. The slopes are found by
differentiating the network itself, so every way from a truncation to d counts, with its sign.

By kind of preset:

* subspace* is one truncation deep: d depends on q, a component of V(x - m), through -q^2, and what
  is truncated to q is the same in every run. So s is 0 or 1, and moves d by -s (2 q + 1): the sums
  of that are the exact bounds. |x|^2 is truncated from a multiple of 2^16, which is exact.

Of all others an eighth more than the first term is reported, for what slopes change:

* ran*, one layer of ReLUs. What is truncated there is the same in every run, too: s is 0 or 1, and
  reaches the next layer whole if the floor is not negative, and not at all if it is, as the slope
  says. All that follows is linear up to the last square, (q + e)^2 = q^2 + 2 q e + e^2, where q is
  a reconstruction error and e what rounding moved it by: the e^2 are beyond the first term, and
  below an eighth of it unless models reconstruct almost as exactly as the arithmetic can say.
* conv*, several layers. Besides, a ReLU switches whose input is nearer to zero than rounding moves
  it. What it passes then is off from what the slope says by no more than that move.
* paper. Besides, normalisation: the curvature of 1 / (deviation + eps) within what rounding moves
  the deviation by, and a step of at most 2^-15 of it where the sum of squares crosses into the next
  interval of the table (mpc/normalise.py).

So the bound is a proof for subspace*, and for the others one to first order: rounding moves values
by some 2^-14 to 2^-9 of their size, slopes change by about as much, and an eighth is 2^-3.
tests/unit/reference/test_rounding.py makes every truncation round the worse way, for every layer
kind: d is then moved by the sum of its slopes to within a few percent, and never by more than the
bound.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from privedge.mpc.engine import Weight
from privedge.mpc.network import Network
from privedge.mpc.products import apply
from privedge.mpc.window import Window
from privedge.ran.spec import RanSpec, Subspace
from privedge.sharing.fixed_point import FRACTIONAL_BITS

Parameters = dict[str, torch.Tensor]
# How far below, and above.
Reach = tuple[torch.Tensor, torch.Tensor]

# A truncation adds less than so many units one way or the other.
_LEAST, _MOST = 1, 2
# How much more than the first order is allowed for.
_MARGIN = 1.125
# Owners differentiated at once: bounds memory.
_OWNERS = 16


def reach(spec: RanSpec, parameters: Parameters, images: torch.Tensor) -> Reach:
    """How far below and above the plaintext dissimilarities private ones can be.

    `parameters`: name -> int64 (N, *shape) at f; `images`: int64 (B, *input_shape) at f. Returns
    float64 (B, N) twice, at least 0, in units of 2^-32 (scale 2f).
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
    """By how much an addition of 1 after each truncation moves an owner's dissimilarity, to first
    order: float64 (N, truncations in order), in units of 2^-32. `image`: one, (1, *input_shape).
    """
    additions: list[torch.Tensor] = []

    def nothing(shape: torch.Size) -> torch.Tensor:
        additions.append(torch.zeros(shape, dtype=torch.float64, requires_grad=True))
        return additions[-1]

    distances = rounded(spec, parameters, image, nothing)
    # No addition has a part in two owners' dissimilarities, so one pass finds all the slopes.
    found = torch.autograd.grad(distances.sum(), additions, materialize_grads=True)
    owners = distances.size(1)
    # Of one image, all values lie owner by owner.
    return torch.cat([each.reshape(owners, -1) for each in found], 1)


def rounded(
    spec: RanSpec,
    parameters: Parameters,
    images: torch.Tensor,
    additions: Callable[[torch.Size], torch.Tensor],
) -> torch.Tensor:
    """The plaintext dissimilarities, float64 (B, N) at 2f, with `additions` after each truncation:
    called with the shape of what was truncated, in order.
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
    """The last dimension's positive values added up."""
    return steps.clamp(min=0).sum(-1)


def _runs(parameters: Parameters) -> Iterator[slice]:
    owners = parameters["threshold"].size(0)
    return (slice(start, start + _OWNERS) for start in range(0, owners, _OWNERS))


class _RoundedEngine:
    """mpc.engine.Engine over whole float64 numbers: the plaintext model with something added after
    each truncation, and with derivatives, which take a truncation for a division.
    """

    def __init__(self, additions: Callable[[torch.Size], torch.Tensor]) -> None:
        """`additions`: in units of what is truncated to, by its shape."""
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
        # The value is the floor's, the derivative that of the division.
        return exact.floor() + (quotient - exact) + self._additions(x.shape)

    def relu_and_value(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = self.truncate(x)
        return value.clamp(min=0), value

    def negative(self, x: torch.Tensor, *, bits: int = 63) -> torch.Tensor:
        return (x < 0).double()

    def chosen(
        self, index: torch.Tensor, values: torch.Tensor, *, below: int, places: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        hot = torch.stack([(index == place).double() for place in range(places)])
        return hot, hot.unsqueeze(2) * values

    def phase(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def constant(self, name: str, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        return compute()
