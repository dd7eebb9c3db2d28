"""Random numbers for defences: from a key when they hide something, from a seed in training.

A defence asks for draws for the n images at hand, and does not know where they come from. On a
device they come from AES-CTR under the device's own key, in one of three ways:

    fixed       the same draws for every image
    per-input   one stream per image, which repeats when the image does
    fresh       never the same; a patient server averages these away, so they are only for measuring
"""

import hashlib
import math
import os
from typing import Literal, Protocol

import torch

from parties.mpc.prg import SEED_BYTES, MaskStream

Repeat = Literal["fixed", "per-input", "fresh"]
KEY_BYTES = SEED_BYTES
# float32 keeps 24 bits. The centre of a step is never 0 or 1, where the inverses are infinite.
_STEPS = 1 << 24


class Draws(Protocol):
    """Randomness for n images."""

    def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw float32 (n, *shape), uniform in the open interval (0, 1); each call goes on."""
        ...


class SeededDraws:
    """Draws for training. They are repeatable and hide nothing."""

    def __init__(self, generator: torch.Generator, images: int) -> None:
        self._generator, self._images = generator, images

    def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
        """As Draws says."""
        steps = torch.randint(_STEPS, (self._images, *shape), generator=self._generator)
        return _open(steps)


class KeyedDraws:
    """Draws for a device: one AES-CTR stream per image, or one for all. Secret; no useful repr."""

    def __init__(self, key: bytes, images: torch.Tensor, repeat: Repeat) -> None:
        """Open the streams. The bytes of the device's images (n, C, H, W) name them."""
        self._images = len(images)
        if repeat == "fixed":
            names = [b"fixed"]
        elif repeat == "per-input":
            names = [_digest(image) for image in images]
        else:
            names = [os.urandom(32) for _ in images]
        self._streams = [
            MaskStream(key, purpose=f"split {repeat}", session=name, counter=0) for name in names
        ]

    def uniform(self, shape: tuple[int, ...]) -> torch.Tensor:
        """As Draws says; for `fixed` all rows are equal."""
        # The top 24 bits of each word.
        rows = torch.stack([(stream.take(shape) >> 40) & (_STEPS - 1) for stream in self._streams])
        return _open(rows).expand(self._images, *shape)


def normal(draws: Draws, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw float32 (n, *shape), standard normal."""
    return math.sqrt(2) * torch.erfinv(2 * draws.uniform(shape) - 1)


def laplace(draws: Draws, shape: tuple[int, ...]) -> torch.Tensor:
    """Draw float32 (n, *shape), Laplace with scale 1."""
    centred = draws.uniform(shape) - 0.5
    return -centred.sign() * torch.log1p(-2 * centred.abs())


def keep(draws: Draws, shape: tuple[int, ...], drop_rate: float) -> torch.Tensor:
    """Draw float32 (n, *shape) of 1 and 0, each 0 with probability `drop_rate`."""
    return (draws.uniform(shape) >= drop_rate).float()


def keep_exactly(draws: Draws, shape: tuple[int, ...], kept: int) -> torch.Tensor:
    """Draw float32 (n, *shape) of 1 and 0: `kept` ones per image, every choice equally likely."""
    ranks = draws.uniform(shape).flatten(1)
    chosen = ranks.topk(kept, dim=1).indices
    return torch.zeros_like(ranks).scatter_(1, chosen, 1.0).reshape(-1, *shape)


def _open(steps: torch.Tensor) -> torch.Tensor:
    return (steps.double().add(0.5) / _STEPS).clamp(max=1 - 1 / _STEPS).float()


def _digest(image: torch.Tensor) -> bytes:
    return hashlib.sha256(image.detach().contiguous().numpy().tobytes()).digest()
