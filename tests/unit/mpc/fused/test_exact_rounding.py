"""With exact rounding a private run equals the plaintext run; a ReLU costs no more rounds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.fixed_product import MaskedWeights
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.fused.tuples import ExactTruncation, FusedRelu
from parties.mpc.network import Network
from parties.mpc.session import Session
from parties.mpc.tuples import Truncation
from privedge.errors import ShareError
from privedge.ran.presets import preset
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import Outcome, as_tensor, run

F = 16
RELU_BOUND = 2**48
BOUND = 2**62
CLEAR = ClearEngine()
DIGEST_BYTES = 16  # in every exchange


class ExactEngine(FusedEngine):
    """What a worker makes under `rounding = "exact"`."""

    def __init__(self, session: Session, masked: MaskedWeights) -> None:
        super().__init__(session, masked, exact=True)


def edges(bound: int) -> list[int]:
    """Around zero, around multiples of 2^f and at both ends."""
    multiples = [k << F for k in (-(bound >> F), -3, -1, 0, 1, 2, 1000, (bound >> F) - 1)]
    near = [m + d for m in multiples for d in (-1, 0, 1)]
    return [v for v in (*near, bound - 1, 1 - bound, -bound) if -bound <= v < bound]


def with_edges(bound: int) -> st.SearchStrategy[list[int]]:
    one = st.one_of(st.sampled_from(edges(bound)), st.integers(-bound, bound - 1))
    return st.lists(one, min_size=1, max_size=150)


def words(values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64).view(np.uint64)


def both(engine, x):
    relu, value = engine.relu_and_value(x)
    return engine.share(torch.stack([relu.share, value.share]))


def truncated(engine, x):
    return engine.truncate(x)


def exact(program, values: object) -> Outcome:
    return run(program, words(values), engine_type=ExactEngine)


def signed(outcome: Outcome) -> np.ndarray:
    return outcome.value.view(np.int64)


@settings(max_examples=15, deadline=None)
@given(with_edges(RELU_BOUND))
def test_relu_and_the_value_itself_are_the_floor(values):
    floor = np.array(values) >> F
    assert (signed(exact(both, values)) == [np.maximum(floor, 0), floor]).all()


@settings(max_examples=15, deadline=None)
@given(with_edges(BOUND))
def test_truncation_is_the_floor(values):
    assert (signed(exact(truncated, values)) == np.array(values) >> F).all()


def test_many_values_at_the_range_bound_are_rounded_as_they_must():
    rng = np.random.default_rng(0)
    for program, bound in ((both, RELU_BOUND), (truncated, BOUND)):
        values = rng.integers(bound - 2**20, bound, 200_000) * rng.choice([-1, 1], 200_000)
        floor = values >> F
        expected = [np.maximum(floor, 0), floor] if program is both else floor
        assert (signed(exact(program, values)) == expected).all()


@pytest.mark.parametrize(
    ("program", "engine", "rounds", "limit"),
    [
        (both, ExactEngine, 4, 11.25),
        (both, FusedEngine, 4, 11.25),
        (truncated, ExactEngine, 3, 8.875),
        (truncated, FusedEngine, 1, 8),
    ],
)
def test_rounds_and_bytes(program, engine, rounds, limit):
    count = 6400
    outcome = run(program, words([5] * count), engine_type=engine)
    for session in outcome.sessions:
        assert session.rounds == rounds
        assert session.bytes_sent - DIGEST_BYTES * rounds == limit * count


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        (FusedRelu((6400,), F), 71.375),
        (FusedRelu((6400,), F, exact=True), 87.375),
        (Truncation((6400,), F), 16),
        (ExactTruncation((6400,), F), 33.375),
    ],
)
def test_bytes_from_the_dealer(kind, size):
    assert 8 * sum(np.prod(shape) for shape in kind.derived) == size * 6400


@pytest.mark.parametrize("bits", [1, 15, 17, 32])
def test_other_shifts_are_refused(bits):
    with pytest.raises(ShareError):
        ExactTruncation((1,), bits)
    with pytest.raises(ShareError):
        FusedRelu((1,), bits, exact=True)


@pytest.mark.parametrize(
    "spec",
    [*SPECS, *(preset(name, height=32, width=32, channels=1) for name in ("conv32", "ran32"))],
    ids=lambda spec: spec.name,
)
def test_dissimilarities_are_the_clear_ones_bit_for_bit(spec):
    parameters, images = cohort(spec, 2), batch(spec, 1)
    names = list(parameters)

    def program(engine, x, *stacked):
        return Network(spec, dict(zip(names, stacked, strict=True)), engine).dissimilarity(x)

    clear = {name: as_tensor(held) for name, held in parameters.items()}
    expected = Network(spec, clear, CLEAR).dissimilarity(as_tensor(images)).numpy()
    outcome = run(program, images, *parameters.values(), engine_type=ExactEngine)
    assert (signed(outcome) == expected).all()
