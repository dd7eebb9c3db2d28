"""Disguise images with the key of their data set, on the owner's device."""

import os
from typing import Protocol

import torch

from privedge.errors import ImageError
from privedge_lab.disguise.aes import AesTransform
from privedge_lab.disguise.blocks import grid
from privedge_lab.disguise.keys import DisguiseKey, KeyStream
from privedge_lab.disguise.rmt import RmtTransform
from privedge_lab.disguise.settings import Aes, Rmt

_NOISE_SEED_BYTES = 32


class _Transform(Protocol):
    def forward(self, blocks: torch.Tensor) -> torch.Tensor: ...

    def inverse(self, blocks: torch.Tensor) -> torch.Tensor: ...


class _Unchanged:
    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        return blocks

    def inverse(self, blocks: torch.Tensor) -> torch.Tensor:
        return blocks


class Disguise:
    """One data set's disguise: padding, noise, transform and shuffle of the blocks. Secret."""

    def __init__(self, key: DisguiseKey) -> None:
        self._settings = key.sized.settings
        self._grid = grid(key.sized)
        self._transform = _transform(key, self._grid.positions)
        order = KeyStream(key.secret, "shuffle").permutation(self._grid.positions)
        self._order = order if self._settings.shuffle else torch.arange(self._grid.positions)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a disguised image: (channels, height, width)."""
        return self._grid.disguised

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Disguise images (n, C, H, W) in [0, 1] as (n, C, H', W').

        With AES the result is float32 in [0, 1], in whole 255ths. Else it has the type of `images`
        (float32, or float64 for measuring) and values of any sign and size: never clip them or
        store them as bytes. Noise is fresh at every call. Raises ImageError for images of another
        size.
        """
        if images.ndim != 4 or tuple(images.shape[1:]) != self._grid.image:
            raise ImageError(
                f"the key is for images of {self._grid.image}, these are {tuple(images.shape[1:])}"
            )
        blocks = self._noisy(self._grid.cut(images), "before")
        blocks = self._transform.forward(blocks)[:, :, self._order]
        return self._grid.join(self._noisy(blocks, "after"))

    def undo(self, disguised: torch.Tensor) -> torch.Tensor:
        """Recover the images (n, C, H, W) of disguised ones; their noise is still in them."""
        blocks = self._grid.cut_disguised(disguised)[:, :, self._order.argsort()]
        return self._grid.crop(self._grid.join(self._transform.inverse(blocks)))

    def _noisy(self, blocks: torch.Tensor, when: str) -> torch.Tensor:
        settings = self._settings
        if not isinstance(settings, Rmt) or settings.noise == 0 or settings.noise_when != when:
            return blocks
        fresh = KeyStream(os.urandom(_NOISE_SEED_BYTES), "noise").uniform(tuple(blocks.shape))
        return blocks + (settings.noise * fresh).to(blocks.dtype)


def _transform(key: DisguiseKey, positions: int) -> _Transform:
    settings = key.sized.settings
    if isinstance(settings, Rmt):
        return RmtTransform(key.secret, settings, positions)
    if isinstance(settings, Aes):
        return AesTransform(key.secret, settings, positions)
    return _Unchanged()
