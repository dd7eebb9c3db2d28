"""The noise of opened sums is a discrete Laplace distribution, as far as chance allows."""

from fractions import Fraction
from math import exp, sqrt

import pytest

from parties.mpc.noise import discrete_laplace
from tests.chance import SIGMAS

DRAWS = 20_000


@pytest.mark.parametrize("scale", [Fraction(1, 2), Fraction(2), Fraction(7, 3), Fraction(40)])
def test_every_value_comes_as_often_as_it_should(scale):
    drawn = [discrete_laplace(scale) for _ in range(DRAWS)]
    ratio = exp(-1 / float(scale))
    for value in range(-4, 5):
        chance = (1 - ratio) / (1 + ratio) * ratio ** abs(value)
        spread = sqrt(DRAWS * chance * (1 - chance))
        assert abs(drawn.count(value) - DRAWS * chance) < SIGMAS * spread


def test_mean_and_variance_are_those_of_the_scale():
    scale = Fraction(20)
    drawn = [discrete_laplace(scale) for _ in range(DRAWS)]
    ratio = exp(-1 / 20)
    variance = 2 * ratio / (1 - ratio) ** 2
    assert abs(sum(drawn)) < SIGMAS * sqrt(DRAWS * variance)
    # The fourth moment of a Laplace distribution is 6 times the square of its variance.
    spread = sqrt(5 * variance**2 / DRAWS)
    assert abs(sum(x * x for x in drawn) / DRAWS - variance) < SIGMAS * spread


def test_neighbouring_sums_cannot_be_told_apart_better_than_epsilon_says():
    epsilon, sensitivity = 0.5, 2
    scale = Fraction(sensitivity * 2)  # sensitivity / epsilon
    one = [100 + discrete_laplace(scale) for _ in range(DRAWS)]
    other = [100 + sensitivity + discrete_laplace(scale) for _ in range(DRAWS)]
    for limit in (95, 100, 101, 102, 108):
        above = sum(x >= limit for x in one) / DRAWS, sum(x >= limit for x in other) / DRAWS
        noise = SIGMAS * sqrt(2 / DRAWS)
        assert above[1] <= exp(epsilon) * above[0] + noise
        assert 1 - above[0] <= exp(epsilon) * (1 - above[1]) + noise
