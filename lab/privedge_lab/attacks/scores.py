"""Score an attack: PSNR and SSIM per image, correlation per signal, accuracy; and their means.

Reconstructions are clipped to [0, 1] first, and the data range is 1. (He et al. used the range of
the reconstruction, which flatters a faint one.)
"""

import math
from dataclasses import dataclass

import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

_NORMAL_95 = 1.96
# A perfect reconstruction has no finite PSNR; this is 8-bit images' rounding error squared over 12.
_MAX_PSNR_DB = 100.0
_TINY = 1e-12


@dataclass(frozen=True)
class Mean:
    """A mean over `count` values and half the width of its 95% interval."""

    value: float
    plus_minus: float
    count: int


def psnr_db(found: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return the PSNR of each image in dB, float32 (n,), at most 100.

    `found` and `images` are float32 (n, C, H, W) with peak 1; another shape raises ValueError.
    """
    _check(found, images)
    each: torch.Tensor = peak_signal_noise_ratio(
        found.clamp(0, 1), images, data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    return each.clamp(max=_MAX_PSNR_DB)


def ssim(found: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return the SSIM of each image, float32 (n,): Gaussian window 11 x 11, sigma 1.5, range 1.

    `found` and `images` are float32 (n, C, H, W); another shape raises ValueError.
    """
    _check(found, images)
    each = structural_similarity_index_measure(
        found.clamp(0, 1), images, data_range=1.0, reduction="none"
    )
    if isinstance(each, tuple):
        raise TypeError("asked for one value an image")
    return each.reshape(-1)


def correlation(found: torch.Tensor, signals: torch.Tensor) -> torch.Tensor:
    """Return Pearson's correlation of each signal with its reconstruction, float32 (n,).

    `found` and `signals` are float32 (n, C, 1, T); another shape raises ValueError. The mean of
    each channel is taken out first. A flat reconstruction has 0.
    """
    _check(found, signals)
    one, other = (it.double() - it.double().mean(-1, keepdim=True) for it in (found, signals))
    together = (one * other).flatten(1).sum(1)
    sizes = one.flatten(1).norm(dim=1) * other.flatten(1).norm(dim=1)
    each: torch.Tensor = (together / sizes.clamp(min=_TINY)).float()
    return each


def mean(values: torch.Tensor) -> Mean:
    """Return the mean of values (n,) with its 95% interval (normal approximation)."""
    count = len(values)
    spread = float(values.double().std()) if count > 1 else math.nan
    return Mean(float(values.double().mean()), _NORMAL_95 * spread / math.sqrt(count), count)


def accuracy(guesses: torch.Tensor, truth: torch.Tensor) -> Mean:
    """Return the share of equal entries of two tensors (n,)."""
    return mean((guesses == truth).double())


def majority_rate(truth: torch.Tensor) -> float:
    """Return the accuracy of always guessing the most frequent value of `truth`, int64 (n,)."""
    return float(torch.bincount(truth).max()) / len(truth)


def _check(found: torch.Tensor, images: torch.Tensor) -> None:
    if found.shape != images.shape:
        raise ValueError(f"reconstructions {tuple(found.shape)} for images {tuple(images.shape)}")
