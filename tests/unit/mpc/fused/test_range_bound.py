"""No fused ReLU is off by more than its rounding, at the range bound and elsewhere."""

import numpy as np
import pytest
import torch

from parties.mpc.fused.engine import FusedEngine
from tests.unit.mpc.fused.test_exact_rounding import ExactEngine
from tests.unit.mpc.pair import run

BOUND = 2**48
F = 16
CHUNK = 200_000


def values(rng: np.random.Generator) -> np.ndarray:
    """A chunk: half of it within 2^20 of either bound, a quarter anywhere, a quarter near zero."""
    near = rng.integers(BOUND - 2**20, BOUND, CHUNK // 2) * rng.choice([-1, 1], CHUNK // 2)
    anywhere = rng.integers(-BOUND, BOUND, CHUNK // 4)
    small = rng.integers(-(2**20), 2**20, CHUNK // 4)
    return np.concatenate([near, anywhere, small])


def errors(engine_type: type[FusedEngine], chunks: int) -> set[int]:
    """By how many units results of ReLU, and of truncation in it, are above the floor."""
    rng, seen = np.random.default_rng(chunks), set()

    def program(engine, x):
        return engine.share(torch.stack([part.share for part in engine.relu_and_value(x)]))

    for _ in range(chunks):
        chunk = values(rng)
        got = run(program, chunk.view(np.uint64), engine_type=engine_type).value.view(np.int64)
        floor = chunk >> F
        for off in (got[0] - np.maximum(floor, 0), got[1] - floor):
            low, high = int(off.min()), int(off.max())
            seen |= {low, high}
    return seen


@pytest.mark.parametrize(("engine", "expected"), [(FusedEngine, {0, 1}), (ExactEngine, {0})])
def test_a_million_relus(engine, expected):
    assert errors(engine, 5) == expected


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "expected"), [(FusedEngine, {0, 1}), (ExactEngine, {0})])
def test_a_hundred_million_relus(engine, expected):
    assert errors(engine, 500) == expected
