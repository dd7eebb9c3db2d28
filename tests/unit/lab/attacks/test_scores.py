"""Scores of reconstructions against values worked out by hand."""

import math

import pytest
import torch

from privedge_lab.attacks import scores

IMAGES = torch.rand((4, 1, 28, 28), generator=torch.Generator().manual_seed(1))


def test_psnr_is_that_of_the_mean_square():
    found = (IMAGES * 0.5 + 0.2).clone()
    expected = -10 * torch.log10(((found - IMAGES) ** 2).mean(dim=(1, 2, 3)))
    assert torch.allclose(scores.psnr_db(found, IMAGES), expected, atol=1e-4)


def test_a_perfect_reconstruction_is_finite_and_best():
    assert scores.psnr_db(IMAGES, IMAGES).tolist() == [100.0] * 4
    assert torch.allclose(scores.ssim(IMAGES, IMAGES), torch.ones(4))


def test_reconstructions_are_clipped_first():
    assert scores.psnr_db(IMAGES + 5, IMAGES).equal(scores.psnr_db(torch.ones_like(IMAGES), IMAGES))


def test_the_interval_is_that_of_the_mean():
    found = scores.mean(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert found.value == 2.5 and found.count == 4
    assert found.plus_minus == pytest.approx(1.96 * math.sqrt(5 / 3) / 2)


def test_guessing_the_commonest_value_reaches_the_majority_rate():
    truth = torch.tensor([1, 1, 1, 0])
    assert scores.majority_rate(truth) == 0.75
    assert scores.accuracy(torch.ones(4, dtype=torch.int64), truth).value == 0.75


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="reconstructions"):
        scores.ssim(IMAGES[:2], IMAGES)
