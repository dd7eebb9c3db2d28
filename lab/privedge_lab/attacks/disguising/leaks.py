"""What a disguise leaves unchanged under every key, and where its shuffled blocks belong.

- An orthogonal R keeps the Gram matrix X X^T of every block: the lengths of rows, and their angles.
- A projection keeps which blocks are empty. It also keeps about how bright they are, up to one
  factor for each position.
- AES in ECB mode keeps which blocks are equal, above all to the background.
- A permutation keeps the blocks.

The images' domain determines how these features vary over positions. That is enough to put shuffled
blocks back without a key and without pairs.
"""

import torch
from scipy.optimize import linear_sum_assignment

from privedge_lab.disguise.aes import to_bytes
from privedge_lab.disguise.settings import Aes, Rmt, Sized

_TINY = 1e-9


def unchanged(blocks: torch.Tensor, sized: Sized) -> torch.Tensor:
    """Return the features that the disguise keeps, float32 (n, positions, f).

    `blocks` (n, C, positions, side, side) may be plain or disguised.
    """
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
    # Channels become further features of their position.
    moved = found.reshape(*found.shape[:3], -1).transpose(1, 2)
    return moved.reshape(len(blocks), blocks.shape[2], -1).float()


def background(blocks: torch.Tensor, *, one_key: bool) -> torch.Tensor:
    """Frequency analysis: whether each block is the most frequent one, bool (n, C, positions).

    With `one_key`, the most frequent block of all positions counts, else that of each position.
    """
    raster = to_bytes(blocks).flatten(-2)
    if one_key:
        return (raster == _most_frequent(raster.flatten(0, -2))).all(-1)
    places = [(place == _most_frequent(place.flatten(0, -2))).all(-1) for place in raster.unbind(2)]
    return torch.stack(places, 2)


def unshuffle(plain: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Find each position of `plain` in `seen` by its statistics: int64 (positions,).

    Both are `unchanged` features float32 (n, positions, f) of different images of one domain.
    """
    one, two = _statistics(plain), _statistics(seen)
    scale = one.std(0) + _TINY
    cost = torch.cdist(one / scale, two / scale)
    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def _statistics(features: torch.Tensor) -> torch.Tensor:
    """Return mean and deviation of every feature at every position: float64 (positions, 2 f)."""
    exact = features.double()
    return torch.cat([exact.mean(0), exact.std(0)], 1)


def _most_frequent(raster: torch.Tensor) -> torch.Tensor:
    kinds, counts = raster.unique(dim=0, return_counts=True)
    most: torch.Tensor = kinds[counts.argmax()]
    return most
