"""Rounds and bytes of whole queries stay within the budget of docs/protocol.md#cost.

Both depend on public shapes only, so one query of each kind is enough.
"""

import math
from dataclasses import dataclass
from itertools import product

import pytest

from parties.mpc.fused.engine import FusedEngine
from parties.mpc.predict import Rule, predict
from privedge.ran.narrow import norms
from privedge.ran.presets import preset
from privedge.ran.spec import Layer, LeakyRelu, RanSpec, Relu, Subspace
from privedge.sharing.cost import Cost
from tests.unit.mpc.models import batch, cohort
from tests.unit.mpc.pair import run

# Rounds of the network alone: 5 for each ReLU and the layer before it, and for what is no ReLU one
# to multiply, one to truncate, one to truncate and square. Narrow words take one to be widened.
NETWORK_ROUNDS = {
    "conv32": 6 * 5 + 4,
    "conv64": 8 * 5 + 4,
    "ran32": 5 + 4,
    "ran64": 5 + 4,
    "subspace32": 3,
    "subspace64": 3,
    "subspace-writer": 3,
}
SIZES = {"subspace-writer": (64, 128)}


@dataclass(frozen=True)
class Load:
    """How much of everything a query has, from the spec alone."""

    layers: int
    activations: int
    squares: int

    @staticmethod
    def of(spec: RanSpec) -> "Load":
        """Of one owner."""
        shapes: list[tuple[Layer, tuple[int, ...]]] = list(
            zip(spec.layers, spec.shapes(), strict=True)
        )
        sizes = [math.prod(at) for layer, at in shapes if isinstance(layer, (Relu, LeakyRelu))]
        first = spec.layers[0]
        squares = first.components if isinstance(first, Subspace) else math.prod(spec.input_shape)
        return Load(len(sizes), sum(sizes), squares)


def levels(owners: int) -> int:
    return next(level for level in range(10) if 16**level >= owners)


def comparisons(owners: int) -> int:
    """Pairs in groups of equal size; of the last 16 each with all others and its runners-up,
    everyone's threshold and range, and both bounds of the input.
    """
    pairs, runners_up = 0, 0
    while owners > 16:
        groups = math.ceil(owners / 16)
        pairs += groups * math.comb(math.ceil(owners / groups), 2)
        owners, runners_up = groups, runners_up + 1
    return pairs + owners * (owners - 1 + runners_up + 3) + 2


def cost(spec: RanSpec, owners: int, images: int) -> Cost:
    """Of a query, without what only the first one on a snapshot does."""
    parameters = cohort(spec, owners)
    names = list(parameters)

    def program(engine, x, *stacked):
        shared = dict(zip(names, stacked, strict=True))
        return predict(engine, spec, shared, x, Rule(margin=0.9))

    secrets = (batch(spec, images), *parameters.values())
    first, second = run(program, *secrets, engine_type=FusedEngine).sessions
    assert first.phases == second.phases
    phases = tuple(phase for phase in first.phases if phase.name != "weights")
    assert [phase.name for phase in phases] == ["network", "decision"]
    return Cost(
        sum(phase.rounds for phase in phases), sum(p.bytes_to_peer for p in phases), phases=phases
    )


@pytest.mark.parametrize(
    ("name", "owners"),
    [
        pytest.param(*load, marks=pytest.mark.slow if load == ("conv64", 40) else [])
        for load in product(NETWORK_ROUNDS, [1, 10, 40])
    ],
)
def test_rounds_and_bytes_of_a_query(name, owners):
    height, width = SIZES.get(name, (64, 64) if name.endswith("64") else (32, 32))
    spec = preset(name, height=height, width=width, channels=1)
    load, spent = Load.of(spec), cost(spec, owners, 1)

    decision = 5 * levels(owners) if owners > 1 else 4 + (norms(spec) is not None)
    assert [phase.rounds for phase in spent.phases] == [NETWORK_ROUNDS[name], decision]
    assert spent.rounds <= 5 * load.layers + 8 + 10 * levels(owners)
    assert spent.bytes_to_peer <= (
        owners * (21 * load.activations + 17 * load.squares) + 16 * comparisons(owners) + (64 << 10)
    )


def test_a_large_cohort_is_within_the_budget_too():
    spec = preset("subspace32", height=32, width=32, channels=1, components=2)
    spent = cost(spec, 1000, 1)
    assert [phase.rounds for phase in spent.phases] == [3, 15]
    assert spent.bytes_to_peer <= 1000 * 17 * 2 + 16 * comparisons(1000) + (64 << 10)


def test_a_batch_takes_the_rounds_of_one_image():
    spec = preset("subspace32", height=32, width=32, channels=1)
    one, many = cost(spec, 17, 1), cost(spec, 17, 8)
    assert one.rounds == many.rounds == 13
    assert many.bytes_to_peer < 8 * one.bytes_to_peer
