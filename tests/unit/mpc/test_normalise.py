"""Whole-sample normalisation on shares agrees with the float layer, within the stated error."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.normalise import normalised
from privedge.ran import spec as kinds
from privedge.ran.model import build
from privedge.sharing.fixed_point import decode, encode
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import as_tensor, run

CLEAR = ClearEngine()
GAMMA, BETA = np.array([[1.0], [2.5], [-0.5]]), np.array([[0.0], [1.0], [-0.25]])
UNIT = 2.0**-16
OWNERS = len(GAMMA)


def clear(values: np.ndarray, eps: float = 1e-3) -> np.ndarray:
    """values: reals (B, OWNERS, *shape)."""
    affine = as_tensor(encode(GAMMA)), as_tensor(encode(BETA))
    normed = normalised(CLEAR, as_tensor(encode(values)), affine, eps)
    return normed.numpy() / 2**16


def by_torch(values: np.ndarray, eps: float = 1e-3) -> np.ndarray:
    """The layer the owner trains, in double precision on what was encoded."""
    (layer,) = build([kinds.SampleNorm(eps=eps)], [values.shape[2:]])
    held = torch.from_numpy(decode(encode(values)))
    normed = layer.double()(held.flatten(0, 1)).detach().reshape(values.shape).numpy()
    spread = (1, OWNERS, *[1] * (values.ndim - 2))
    return normed * GAMMA.reshape(spread) + BETA.reshape(spread)


def error_bound(values: np.ndarray, eps: float = 1e-3) -> np.ndarray:
    """2^-15 of the result; one unit of the values, two of the result, times gamma."""
    sample = tuple(range(2, values.ndim))
    deviation = values.std(axis=sample, keepdims=True)
    gamma = abs(GAMMA).reshape(1, OWNERS, *[1] * (values.ndim - 2))
    away = abs(values - values.mean(axis=sample, keepdims=True))
    relative = 2.0**-15 * away / (deviation + eps)
    return gamma * (relative + 2 * UNIT / (deviation + eps)) + 4 * UNIT


@pytest.mark.parametrize("count", [1, 2, 48, 256, 1000, 8192, 65536])
@pytest.mark.parametrize("spread", [0.01, 0.3, 1.0, 20.0])
def test_normalisation_is_that_of_the_trained_layer(count, spread):
    rng = np.random.default_rng(count)
    values = np.maximum(rng.normal(0.3, 1, size=(2, OWNERS, count)) * spread, 0)
    assert (abs(clear(values) - by_torch(values)) <= error_bound(values)).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(-8, 10), st.floats(-12, 0), st.integers(2, 300), st.integers(0, 2**32 - 1))
def test_normalisation_over_the_whole_range_of_deviations_and_eps(spread, eps, count, seed):
    values = np.random.default_rng(seed).uniform(-1, 1, size=(1, OWNERS, count)) * 2.0**spread
    wanted, got = by_torch(values, 2.0**eps), clear(values, 2.0**eps)
    assert (abs(got - wanted) <= error_bound(values, 2.0**eps)).all()


@pytest.mark.parametrize("level", [0.0, 1e-4, 3.0, 100.0])
def test_a_sample_of_equal_values_gives_beta(level):
    normed = clear(np.full((2, OWNERS, 4, 8, 8), level))
    # The mean of equal values may be one unit off, and q is at most 1 / eps.
    assert (abs(normed - BETA.reshape(1, OWNERS, 1, 1, 1)) <= 1000 * UNIT * 2.5).all()
    if level == 0.0:
        assert (normed == BETA.reshape(1, OWNERS, 1, 1, 1)).all()


def test_noise_of_one_unit_is_not_blown_up():
    rng = np.random.default_rng(7)
    values = rng.integers(0, 2, size=(1, OWNERS, 512)) * UNIT
    # At most a unit over eps, times gamma.
    assert abs(clear(values) - BETA.reshape(1, OWNERS, 1)).max() < 1000 * UNIT * 2.5


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
@pytest.mark.parametrize("spread", [0.0, 0.01, 1.0, 30.0])
def test_private_normalisation_is_the_clear_one(engine_type, spread):
    values = np.random.default_rng(3).normal(size=(2, OWNERS, 5, 4, 4)) * spread
    outcome = run(
        lambda engine, x, gamma, beta: normalised(engine, x, (gamma, beta), 1e-3),
        encode(values),
        encode(GAMMA),
        encode(BETA),
        engine_type=engine_type,
    )
    got = outcome.value.view(np.int64) * UNIT
    assert (abs(got - clear(values)) <= error_bound(values)).all()


def test_rounds_and_bytes_of_a_private_normalisation():
    count = 4096
    values = np.random.default_rng(3).normal(size=(1, OWNERS, count))
    outcome = run(
        lambda engine, x, gamma, beta: normalised(engine, x, (gamma, beta), 1e-3),
        encode(values),
        encode(GAMMA),
        encode(BETA),
        engine_type=FusedEngine,
    )
    session = outcome.sessions[0]
    assert session.rounds == 14
    # 24 bytes per value, and less than 7 KiB per sample and owner whatever its size.
    assert session.bytes_sent <= OWNERS * (24 * count + 7 * 1024)
