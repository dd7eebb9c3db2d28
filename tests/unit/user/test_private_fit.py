"""Subspaces trained with differential privacy: how much noise, and on what (private_fit.py)."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privedge.errors import TrainingError
from privedge.ran.presets import preset
from privedge.user import private_fit
from privedge.user.private_fit import Noise, Privacy, averages, deviations, mu_of
from privedge.user.train import train
from tests.chance import SIGMAS

KEY = bytes(range(16))


def unit(count, size, spread=0.3, seed=0):
    """Vectors around one direction, of length 1."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=size) / math.sqrt(size) + spread * rng.normal(size=(count, size))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def private(epsilon=8.0, norm=1.0, key=KEY):
    return Privacy(epsilon, 1e-5, norm, key)


# --- Noise ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [0.01, 3.0])
def test_noise_has_the_deviation_that_was_asked_for(deviation):
    count = 400_000
    drawn = Noise(KEY).added(np.zeros(count), deviation) / deviation
    # Rounding to 1/64 adds a variance of 1/12 of a step squared.
    variance = 1 + (1 / 64) ** 2 / 12
    assert abs(drawn.mean()) < SIGMAS / math.sqrt(count)
    assert abs((drawn**2).mean() - variance) < SIGMAS * math.sqrt(2 / count)
    assert abs((drawn**3).mean()) < SIGMAS * math.sqrt(15 / count)
    assert abs((drawn**4).mean() - 3) < SIGMAS * math.sqrt(96 / count)
    for limit, share in ((1, 0.31731), (2, 0.04550), (3, 0.0027)):
        # Between two steps, so that rounding moves nothing across.
        beyond = (np.abs(drawn) > limit + 1 / 128).mean()
        expected = math.erfc((limit + 1 / 128) / math.sqrt(2))
        assert expected == pytest.approx(share, rel=0.08)
        assert abs(beyond - expected) < SIGMAS * math.sqrt(expected / count)
    assert abs((drawn[:-1] * drawn[1:]).mean()) < SIGMAS / math.sqrt(count)


def test_noise_on_moments_is_symmetric_and_has_half_the_variance_off_the_diagonal():
    size = 600
    drawn = Noise(KEY).added_symmetric(np.zeros((size, size)), 2.0)
    assert np.array_equal(drawn, drawn.T)
    above = drawn[np.triu_indices(size, 1)]
    assert abs((above**2).mean() - 2) < SIGMAS * 2 * math.sqrt(2 / len(above))
    assert abs((np.diag(drawn) ** 2).mean() - 4) < SIGMAS * 4 * math.sqrt(2 / size)
    # What `fit` takes for the largest eigenvalue of noise alone.
    assert np.linalg.eigvalsh(drawn).max() == pytest.approx(2 * math.sqrt(2 * size), rel=0.05)


def test_sums_are_rounded_to_the_noise_not_to_a_float():
    drawn = Noise(KEY).added(np.full(1000, math.pi), 0.5)
    assert np.array_equal(np.rint(drawn * 128), drawn * 128)


def test_noise_is_fresh_unless_a_test_fixes_it():
    features = unit(20, 16)
    first, second = (private_fit.fit(features, 20, 2, Privacy(1.0, 1e-5, 1.0))[1] for _ in range(2))
    assert not np.array_equal(first, second)
    again = [private_fit.fit(features, 20, 2, private())[1] for _ in range(2)]
    assert np.array_equal(*again)
    assert KEY.hex() not in repr(private()) and str(KEY) not in repr(private())


# --- How much -------------------------------------------------------------------------------------


def test_the_calibration_is_that_of_balle_and_wang():
    # The deviation that their program gives for a sensitivity of 1.
    assert 1 / mu_of(1.0, 1e-5) == pytest.approx(3.7306, rel=1e-3)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0, 50.0])
def test_the_calibration_meets_delta_exactly(epsilon):
    mu = mu_of(epsilon, 1e-5)
    # The privacy loss of N(0, 1) against N(mu, 1) is normal, with mean mu^2 / 2 and deviation mu.
    # delta = E[max(0, 1 - exp(epsilon - loss))], here by numbers.
    loss = mu**2 / 2 + mu * (grid := np.linspace(-12, 12, 1_200_001))
    weight = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    found = float((np.maximum(0, 1 - np.exp(epsilon - loss)) * weight).sum())
    assert found == pytest.approx(1e-5, rel=1e-3)


@given(
    st.integers(1, 12),
    st.integers(2, 9),
    st.integers(1, 3),
    st.sampled_from([1.0, 12.0, 0.3]),
    st.floats(0.01, 100),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_no_image_moves_the_averages_by_more_than_the_noise_is_made_for(
    images, size, copies, norm, scale, seed
):
    rng = np.random.default_rng(seed)
    vectors = (scale * rng.normal(size=(copies, images, size))).astype(np.float32)
    other = vectors.copy()
    other[:, rng.integers(images)] = rng.choice([-scale, 0, scale, 1e6], size=(copies, size))
    (mean, moments), (mean_, moments_) = (
        averages(each.reshape(-1, size), norm) for each in (vectors, other)
    )
    slack = 1 + 1e-9
    assert np.linalg.norm(mean - mean_) <= slack * 2 * norm / images
    assert np.linalg.norm(moments - moments_) <= slack * math.sqrt(2) * norm**2 / images


@pytest.mark.parametrize("images", [20, 100_000])
def test_both_parts_together_have_the_sensitivity_of_one_gaussian(images):
    privacy = private(epsilon=4.0, norm=3.0)
    of_mean, of_moments = deviations(64, images, privacy)
    moved = (2 * 3.0 / images / of_mean) ** 2
    if of_moments is not None:
        moved += (math.sqrt(2) * 9.0 / images / of_moments) ** 2
    assert math.sqrt(moved) == pytest.approx(mu_of(4.0, 1e-5))
    assert (of_moments is None) == (images == 20)


# --- What comes of it -----------------------------------------------------------------------------


def test_with_many_images_and_little_noise_the_subspace_is_found():
    rng = np.random.default_rng(1)
    plane = np.linalg.qr(rng.normal(size=(16, 2)))[0].T
    features = (0.6 * rng.choice([-1, 1], (20_000, 2)) @ plane).astype(np.float32)
    basis, mean = private_fit.fit(features, len(features), 4, private())
    assert np.linalg.norm(basis @ plane.T, "fro") ** 2 == pytest.approx(2, abs=0.05)
    # Only what stands out of the noise is kept.
    assert np.allclose(np.linalg.norm(basis, axis=1), [1, 1, 0, 0], atol=1e-5)
    assert np.linalg.norm(mean) < 0.05


def test_with_few_images_there_is_a_mean_of_at_most_the_norm_and_no_component():
    basis, mean = private_fit.fit(unit(20, 128), 20, 4, private(epsilon=0.5))
    assert not basis.any()
    assert np.linalg.norm(mean) <= 1 + 1e-6


def test_a_file_says_what_was_promised_and_no_error(tmp_path):
    vectors = unit(40, 16).astype(np.float64)
    ran = train(vectors, owner="ana", preset="vector", unit_length=True, dp_epsilon=3.0)
    assert {name: ran.facts[name] for name in ("dp_epsilon", "dp_delta", "dp_norm")} == {
        "dp_epsilon": "3",
        "dp_delta": "1e-05",
        "dp_norm": "1",
    }
    assert "validation_mse" not in ran.facts
    ran.save(tmp_path / "ana.ran")


@pytest.mark.parametrize(
    ("spec", "changes", "why"),
    [
        (preset("vector", size=16), {}, "dp norm: the features of vector have no public bound"),
        (preset("vector", size=16), {"dp_norm": 0.0}, "dp norm: must be above 0 and finite, not 0"),
        (preset("vector", size=16), {"dp_norm": math.inf}, "dp norm: must be above 0 and finite"),
        (preset("vector", size=16, unit_length=True), {"dp_epsilon": 0.0}, "epsilon must be"),
        (preset("vector", size=16, unit_length=True), {"dp_delta": 1.0}, "delta between"),
        (
            preset("vector", size=16, unit_length=True),
            {"threshold_quantile": 0.9},
            "no noise covers it",
        ),
    ],
)
def test_what_cannot_be_promised_is_refused(spec, changes, why):
    vectors = unit(40, 16).astype(np.float64)
    with pytest.raises(TrainingError, match=why):
        train(vectors, owner="ana", preset=spec, **{"dp_epsilon": 1.0, **changes})


def test_a_network_cannot_be_trained_so():
    pictures = np.zeros((6, 32, 32), np.uint8)
    with pytest.raises(TrainingError, match="no subspace"):
        train(pictures, owner="ana", preset="ran32", quality="ignore", dp_epsilon=1.0, steps=1)
