"""What a disguise leaves unchanged whatever its key, and where its shuffled blocks belong.

An orthogonal R keeps the Gram matrix X X^T of every block: lengths of rows and angles between
them. A projection keeps which blocks are empty and, up to one factor a position, about how bright
they are. AES in ECB mode keeps which blocks are equal, above all to the background. A permutation
keeps the blocks. All that varies over positions by the images' domain, which is enough to put
shuffled blocks back: no key, no pairs.
"""

import torch
from scipy.optimize import linear_sum_assignment

from privedge_lab.disguise.aes import to_bytes
from privedge_lab.disguise.settings import Aes, Rmt, Sized

_TINY = 1e-9


def unchanged(blocks: torch.Tensor, sized: Sized) -> torch.Tensor:
    """Features float32 (n, positions, f) of blocks (n, C, positions, side, side), plain or not."""
    settings = sized.settings
    if isinstance(settings, Aes):
        found = ~background(blocks, one_key=settings.keys == "one")
    elif isinstance(settings, Rmt) and settings.matrix == "orthogonal":
        gram = blocks @ blocks.transpose(-1, -2)
        upper = torch.triu_indices(gram.shape[-1], gram.shape[-1])
        found = gram[..., upper[0], upper[1]]
    elif isinstance(settings, Rmt):
        energy = blocks.square().sum((-1, -2))
        found = energy / (energy.mean(0) + _TINY)
        found = torch.stack([found, (energy > _TINY).float()], -1)
    else:
        found = blocks.flatten(-2)
    # Channels beside each other, as further features of their position.
    moved = found.reshape(*found.shape[:3], -1).transpose(1, 2)
    return moved.reshape(len(blocks), blocks.shape[2], -1).float()


def background(blocks: torch.Tensor, *, one_key: bool) -> torch.Tensor:
    """bool (n, C, positions): whether a block is the most frequent one.

    With one key that is the most frequent of all, else of its position: frequency analysis.
    """
    raster = to_bytes(blocks).flatten(-2)
    if one_key:
        return (raster == _most_frequent(raster.flatten(0, -2))).all(-1)
    places = [(place == _most_frequent(place.flatten(0, -2))).all(-1) for place in raster.unbind(2)]
    return torch.stack(places, 2)


def unshuffle(plain: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Where the positions of `plain` are in `seen`: int64 (positions,), by their statistics.

    Both are `unchanged` features (n, positions, f), of different images of one domain.
    """
    one, two = _statistics(plain), _statistics(seen)
    scale = one.std(0) + _TINY
    cost = torch.cdist(one / scale, two / scale)
    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def _statistics(features: torch.Tensor) -> torch.Tensor:
    """Mean and spread of every feature of every position: float64 (positions, 2 f)."""
    exact = features.double()
    return torch.cat([exact.mean(0), exact.std(0)], 1)


def _most_frequent(raster: torch.Tensor) -> torch.Tensor:
    kinds, counts = raster.unique(dim=0, return_counts=True)
    most: torch.Tensor = kinds[counts.argmax()]
    return most
