"""Randomness of defences: the right distribution, and the right repetition."""

import pytest
import torch

from privedge_lab.baseline.draws import KEY_BYTES, KeyedDraws, SeededDraws, keep, laplace, normal

KEY = bytes(range(KEY_BYTES))
IMAGES = torch.arange(3 * 64).reshape(3, 1, 8, 8) / 192


def test_per_input_draws_repeat_with_the_image_and_differ_between_images():
    once = KeyedDraws(KEY, IMAGES, "per-input").uniform((50,))
    again = KeyedDraws(KEY, IMAGES.flip(0), "per-input").uniform((50,)).flip(0)
    assert torch.equal(once, again)
    assert not torch.equal(once[0], once[1])


def test_fixed_draws_are_the_same_for_all_images_and_change_with_the_key():
    once = KeyedDraws(KEY, IMAGES, "fixed").uniform((50,))
    assert torch.equal(once[0], once[2])
    other = KeyedDraws(bytes(KEY_BYTES), IMAGES, "fixed").uniform((50,))
    assert not torch.equal(once, other)


def test_fresh_draws_never_repeat():
    first = KeyedDraws(KEY, IMAGES, "fresh").uniform((50,))
    assert not torch.equal(first, KeyedDraws(KEY, IMAGES, "fresh").uniform((50,)))


def test_draws_go_on():
    draws = KeyedDraws(KEY, IMAGES, "fixed")
    assert not torch.equal(draws.uniform((50,)), draws.uniform((50,)))


@pytest.mark.parametrize("keyed", [True, False])
def test_moments_are_those_of_the_distribution(keyed):
    def draws():
        if keyed:
            return KeyedDraws(KEY, IMAGES[:1], "per-input")
        return SeededDraws(torch.Generator().manual_seed(3), 1)

    many = (200_000,)
    # Five standard errors, of the mean and (for the second moments) generously of the variance.
    assert abs(normal(draws(), many).mean()) < 5 / many[0] ** 0.5
    assert abs(normal(draws(), many).var() - 1) < 0.03
    assert abs(laplace(draws(), many).mean()) < 5 * (2 / many[0]) ** 0.5
    assert abs(laplace(draws(), many).var() - 2) < 0.1
    assert abs(keep(draws(), many, 0.3).mean() - 0.7) < 0.006
    values = draws().uniform(many)
    assert values.min() > 0 and values.max() < 1
