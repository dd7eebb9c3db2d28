"""Pixels of an experiment as the bytes that owners and clients start from."""

import numpy as np
import numpy.typing as npt
import torch


def as_bytes(pixels: torch.Tensor) -> npt.NDArray[np.uint8]:
    """float32 (n, C, H, W) in [0, 1] as uint8 (n, H, W) or (n, H, W, 3)."""
    values = (pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    grey: npt.NDArray[np.uint8] = values[..., 0]
    return grey if values.shape[3] == 1 else values
