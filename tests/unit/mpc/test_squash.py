"""tanh and clip agree with the float functions within the stated error, also on shares."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.squash import clipped, hyperbolic_tangent
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import run

CLEAR = ClearEngine()
UNIT = 2.0**-16
# Values at 2f: a ReLU's whole range.
BOUND = 2**47 - 1
ANY = st.lists(
    st.one_of(st.integers(-BOUND, BOUND), st.integers(-(2**35), 2**35)), min_size=1, max_size=60
)


def test_tanh_is_within_a_thousandth():
    x = torch.arange(-8 << 32, 8 << 32, 99_991)
    got = hyperbolic_tangent(CLEAR, x).numpy() * UNIT
    assert abs(got - np.tanh(x.numpy() / 2**32)).max() < 1e-3


@given(ANY)
def test_tanh_and_clip_of_any_value_in_range(values):
    x, real = torch.tensor(values), np.array(values) / 2**32
    assert abs(hyperbolic_tangent(CLEAR, x).numpy() * UNIT - np.tanh(real)).max() < 1e-3
    assert abs(clipped(CLEAR, x).numpy() * UNIT - np.clip(real, -1, 1)).max() <= 2 * UNIT


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
@pytest.mark.parametrize("function", [clipped, hyperbolic_tangent])
@settings(max_examples=5, deadline=None)
@given(ANY)
def test_private_values_are_the_clear_ones(function, engine_type, values):
    words = np.array(values).view(np.uint64)
    outcome = run(lambda engine, x: function(engine, x), words, engine_type=engine_type)
    expected = function(CLEAR, torch.tensor(values)).numpy()
    # Twelve relus may each be one unit higher; slopes are at most about one.
    assert abs(outcome.value.view(np.int64) - expected).max() <= 24


@pytest.mark.parametrize(("function", "rounds"), [(clipped, 4), (hyperbolic_tangent, 6)])
def test_shape_and_rounds(function, rounds):
    words = np.arange(2 * 3 * 4 * 5 * 5, dtype=np.uint64).reshape(2, 3, 4, 5, 5) << np.uint64(24)
    outcome = run(lambda engine, x: function(engine, x), words, engine_type=FusedEngine)
    assert outcome.value.shape == words.shape
    assert outcome.sessions[0].rounds == rounds
