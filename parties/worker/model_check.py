"""The check of a new model on shares, in lockstep at both parties (docs/protocol.md#model-check).

    1.  [G] = V V', [|m|^2] for every linear layer; [d_p] for every public probe p, as for a query
    2.  one comparison for each of
            |w| < LARGEST                                   every parameter
            |G_ij - [i = j]| too large by 1/(16k)           rows are orthonormal, or shorter
            |m|^2 < the bound of the features
            0 < threshold < 2^15
            |d_p| < 2^15, and least < mean of d_p < most    the band
            d_p < limit of p                                the model wins this probe
    3.  [refused] = whether any of them failed, or it wins more probes than it may

[v] is a secret-shared v. Nothing but the one bit of step 3 is ever opened, and not here. Step 2 is
exact for every ring element, so no bytes of an owner's are outside its reach: products of
parameters that pass the first line do not wrap, and a model that fails it is refused whatever the
others say.
"""

from dataclasses import dataclass
from typing import Generic

import torch

from parties.mpc.engine import Engine, T, Weight
from parties.mpc.predict import Rule, measure, widened
from privedge.ran.model_bounds import ProbeBounds, gram_slack, most_energy
from privedge.ran.narrow import word_bits
from privedge.ran.spec import RanSpec, Subspace
from privedge.sharing.fixed_point import LIMIT, SCALE
from privedge.sharing.ring import RING_BITS

# Two factors below this, summed over LONGEST products, stay below 2^62.
LARGEST, LONGEST = 1 << 24, 1 << 14
_DOUBLED = SCALE * SCALE
_LIMIT = int(LIMIT)
# Probes at a time, and comparisons at a time: what a tuple of the dealer may hold, and memory.
_ROWS, _COMPARED = 32, 1 << 16


@dataclass(frozen=True)
class _Checks(Generic[T]):
    """Numbers that a sound model makes negative, as flat vectors; and `few`, of which it makes at
    most so many negative.
    """

    engine: Engine[T]
    parts: list[T]
    few: list[tuple[T, int]]

    def below(self, x: T, bound: int) -> None:
        """x < bound, for any shape of x."""
        flat = x.reshape(-1)
        self.parts.append(self.engine.plus(flat, torch.tensor([-bound])))

    def within(self, x: T, low: int, high: int) -> None:
        """low < x < high."""
        self.below(x, high)
        self.below(self.engine.scaled(x, -1), -low)

    def failed(self) -> T:
        """(1, 1): 1 if any number is not negative, or too many of the few are, else 0. Eight
        rounds, or four for each further _COMPARED numbers.
        """
        joined = self.engine.joined([*self.parts, *(few for few, _ in self.few)], 0)
        count = sum(part.size(0) for part in self.parts)
        most = sum(most for _, most in self.few)
        # 1. Every comparison, one bit each. They stay secret: they would tell which rule failed.
        bits = [
            self.engine.negative(joined[start : start + _COMPARED])
            for start in range(0, joined.size(0), _COMPARED)
        ]
        each = self.engine.joined(bits, 0)
        # Local: how many passed, and how many of the few are negative. A failure weighs more than
        # all of these that are allowed, so the number below is negative for either reason.
        weights = torch.full((each.size(0), 1), -1)
        weights[:count] = most + 1
        left = self.engine.combination(each.reshape(1, -1), weights).reshape(1)
        # 2. Whether it is.
        rest = torch.tensor([most - (most + 1) * count])
        found: T = self.engine.negative(self.engine.plus(left, rest))
        refused: T = found.reshape(1, 1)
        return refused


def refused(
    engine: Engine[T],
    spec: RanSpec,
    parameters: dict[str, T],
    probes: T,
    bounds: ProbeBounds | None,
) -> T:
    """Check one model.

    parameters: name -> (1, *shape) at f. probes: (P, *input_shape) at f, public; not looked at
    without bounds. Both as `predict` takes them.

    Returns (1, 1): the integer 1 if the model is to be refused, else 0.
    """
    checks = _Checks(engine, [], [])
    with engine.phase("check"):
        # Below its bound a word is the same in every later run, so what is checked is what is used.
        wide = widened(engine, spec, parameters)
        for name, number in wide.items():
            if name != "threshold":
                checks.within(number, -_largest(spec), _largest(spec))
        checks.within(wide["threshold"], 0, _LIMIT * SCALE)
        for index, layer in enumerate(spec.layers):
            if isinstance(layer, Subspace):
                _check_subspace(checks, index, layer.components, spec, wide)
    if bounds is not None:
        _check_probes(checks, spec, parameters, probes, bounds)
    with engine.phase("check"):
        return checks.failed()


def _largest(spec: RanSpec) -> int:
    """The bound of a parameter at f: no sum of products over its longest axis wraps. A narrow word
    below it is itself once it is widened.
    """
    if (bits := word_bits(spec)) < RING_BITS:
        return 1 << (bits - 2)
    shapes = spec.parameters().values()
    longest = max((extent for shape in shapes for extent in shape), default=1)
    largest = LARGEST
    while longest > LONGEST:
        largest, longest = largest // 2, longest // 4
    return largest


def _check_subspace(
    checks: _Checks[T], index: int, components: int, spec: RanSpec, parameters: dict[str, T]
) -> None:
    """Rows and mean of one linear layer. One round for the products, one for the squares."""
    engine, name = checks.engine, f"{index}.basis"
    basis = parameters[name]
    # (1, k, k) at 2f. As an input V is opened under a fresh mask, beside that which it has as a
    # weight.
    gram = engine.dense(basis, Weight(name, basis)).reshape(-1)
    slack = int(gram_slack(components) * _DOUBLED)
    # Symmetric, so half of it is enough.
    checks.below(gram[torch.arange(components) * (components + 1)], _DOUBLED + slack)
    if components > 1:
        rows, columns = torch.tril_indices(components, components, -1)
        checks.within(gram[rows * components + columns], -slack, slack)
    mean = parameters[f"{index}.mean"].reshape(1, -1)
    checks.below(engine.square(mean).sum(1), int(most_energy(spec) * _DOUBLED))


def _check_probes(
    checks: _Checks[T], spec: RanSpec, parameters: dict[str, T], probes: T, bounds: ProbeBounds
) -> None:
    """The mean error on the probes lies in the band, and few of them are won: the rounds of a query
    for every _ROWS.
    """
    count = probes.size(0)
    found = [
        measure(
            checks.engine, spec, parameters, probes[start : start + _ROWS], Rule(1.0)
        ).owners.reshape(-1)
        for start in range(0, count, _ROWS)
    ]
    errors = checks.engine.joined(found, 0)
    # Each alone first: one that wraps could make any sum.
    checks.within(errors, -_LIMIT * _DOUBLED, _LIMIT * _DOUBLED)
    band = bounds.band
    low, high = (round(edge * count * _DOUBLED) for edge in (band.least, band.most))
    checks.within(errors.reshape(1, -1).sum(1), low, high)
    # Thresholds are public, so taking them away is local.
    limits = torch.tensor([-round(limit * _DOUBLED) for limit in bounds.limits])
    checks.few.append((checks.engine.plus(errors, limits), bounds.most_won))
