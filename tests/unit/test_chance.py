"""The statistics that other tests look at are as they say."""

import os

import numpy as np
import pytest
from scipy.stats import chi2, norm

from tests.chance import SIGMAS, chi_square, fair, from_uniform


@pytest.mark.parametrize("sigmas", [-6, -3, 0, 3, 5, SIGMAS])
def test_far_from_uniform_is_as_rare_as_so_many_standard_deviations(sigmas):
    # Half of the values come more often by d, half by d less: 256 d^2 / mean is the statistic.
    mean = 1e9
    d = np.sqrt(chi2.isf(norm.sf(sigmas), 255) * mean / 256)
    counts = mean + np.tile([d, -d], 128)
    assert from_uniform(counts) == pytest.approx(sigmas, abs=0.02)


def test_words_that_are_random_pass_and_what_is_not_is_found():
    words = np.frombuffer(os.urandom(8 * 100_000), np.uint64)
    assert all(abs(chi_square(words, shift)) < SIGMAS for shift in range(0, 64, 8))
    assert chi_square(words >> np.uint64(1), 56) > SIGMAS
    # More even than chance would have it.
    assert chi_square(np.arange(256 * 400, dtype=np.uint64), 0) < -SIGMAS


def test_bits_are_fair_or_are_not():
    bits = np.unpackbits(np.frombuffer(os.urandom(10_000), np.uint8))
    assert fair(bits)
    assert not fair(np.concatenate([bits, np.ones(4_000, np.uint8)]))
