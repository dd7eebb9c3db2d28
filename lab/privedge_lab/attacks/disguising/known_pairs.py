"""Level 2 against RMT: find the key by regression on known pairs, and all images with it.

At every position, the known blocks X and their disguises Y give R = X^+ Y. One pair is enough
where its block has full rank. If no known block shows a direction (the black borders of digits),
that direction stays unknown, and is about as empty in the other images. The regression has a
constant term if there is noise.

The authors' attack assumes that blocks stay in place. A shuffle costs the adversary one regression
for each pair of positions; the assignment with the smallest residuals is the permutation. If R is
orthogonal, one pair is enough: the Gram matrices X X^T and Y Y^T are equal.
"""

from dataclasses import dataclass, field

import torch
from scipy.optimize import linear_sum_assignment

from privedge_lab.attacks.views import KnownPairsView
from privedge_lab.disguise.blocks import grid
from privedge_lab.disguise.settings import Aes, Permutation, Rmt, Sized

# Singular values below this share of the largest count as zero: float32 images have 24 bits.
_RANK_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@dataclass(frozen=True)
class FoundKey:
    """What the adversary knows of a key: Y[order[i]] is about X[i] matrices[i] + offsets[i].

    `order` int64 (positions,), `matrices` float64 (positions, k, k), `offsets` float64
    (positions, k), `ranks` int64 (positions,): in how many directions each matrix is known.
    """

    sized: Sized
    order: torch.Tensor
    matrices: torch.Tensor = field(repr=False)
    offsets: torch.Tensor = field(repr=False)
    ranks: torch.Tensor


def regress(view: KnownPairsView) -> FoundKey:
    """Find the key as far as the known pairs determine it. Computes in float64.

    Raises ValueError for a disguise that is neither RMT nor a permutation.
    """
    settings = view.sized.settings
    if isinstance(settings, Aes):
        raise ValueError("AES is not linear: use a codebook")
    cells = grid(view.sized)
    tolerance = _RANK_TOLERANCE[view.known_disguised.dtype]
    plain, seen = _rows(cells.cut(view.known)), _rows(cells.cut_disguised(view.known_disguised))
    offsets_x, offsets_y = torch.zeros_like(plain[:, :1]), torch.zeros_like(seen[:, :1])
    if settings.noise > 0:
        offsets_x, offsets_y = plain.mean(1, keepdim=True), seen.mean(1, keepdim=True)
    plain, seen = plain - offsets_x, seen - offsets_y
    order = torch.arange(cells.positions)
    if settings.shuffle:
        order = _assign(_costs(plain, seen, settings, tolerance))
    inverse, ranks = _pseudo_inverse(plain, tolerance)
    matrices = inverse @ seen[order]
    if isinstance(settings, Permutation):
        matrices = torch.eye(cells.block, dtype=torch.float64).expand_as(matrices)
    offsets = offsets_y[order] - offsets_x @ matrices
    return FoundKey(view.sized, order, matrices, offsets[:, 0], ranks)


def recover(key: FoundKey, disguised: torch.Tensor) -> torch.Tensor:
    """Recover images float64 (n, C, H, W) in [0, 1] from `disguised` (n, C, H', W')."""
    cells = grid(key.sized)
    blocks = cells.cut_disguised(disguised).double()[:, :, key.order]
    inverse = torch.linalg.pinv(key.matrices, rtol=_RANK_TOLERANCE[disguised.dtype])
    found = (blocks - key.offsets[:, None]) @ inverse
    return cells.crop(cells.join(found)).clamp(0, 1)


def _rows(blocks: torch.Tensor) -> torch.Tensor:
    """Reshape blocks (n, C, positions, k, k) to float64 (positions, n C k, k): one R a position."""
    return blocks.double().permute(2, 0, 1, 3, 4).reshape(blocks.shape[2], -1, blocks.shape[-1])


def _pseudo_inverse(rows: torch.Tensor, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the pseudo-inverses, float64 (positions, k, equations), and the ranks."""
    u, s, v = torch.linalg.svd(rows, full_matrices=False)
    kept = s > tolerance * s.amax(1, keepdim=True).clamp(min=tolerance)
    inverse = torch.where(kept, 1 / s, 0.0)
    return v.transpose(1, 2) * inverse[:, None] @ u.transpose(1, 2), kept.sum(1)


def _assign(costs: torch.Tensor) -> torch.Tensor:
    """Return the column for each row that makes the sum of costs least."""
    return torch.from_numpy(linear_sum_assignment(costs.numpy())[1])


def _costs(
    plain: torch.Tensor, seen: torch.Tensor, settings: Rmt | Permutation, tolerance: float
) -> torch.Tensor:
    """Return, at [i, j], how badly the known blocks of i match the disguised ones of j."""
    if isinstance(settings, Permutation):
        return torch.cdist(plain.flatten(1), seen.flatten(1))
    if settings.matrix == "orthogonal" and settings.noise == 0:
        return torch.cdist(_grams(plain, settings.block), _grams(seen, settings.block))
    # Both ways: R is invertible, so an empty block fits only an empty one.
    return _residuals(plain, seen, tolerance) + _residuals(seen, plain, tolerance).T


def _grams(rows: torch.Tensor, block: int) -> torch.Tensor:
    blocks = rows.reshape(len(rows), -1, block, block)
    return (blocks @ blocks.transpose(2, 3)).flatten(1)


def _residuals(given: torch.Tensor, wanted: torch.Tensor, tolerance: float) -> torch.Tensor:
    """Return, at [i, j], the sum of squared residuals of regressing wanted[j] on given[i]."""
    u, s, _ = torch.linalg.svd(given, full_matrices=False)
    u = u * (s > tolerance * s.amax(1, keepdim=True).clamp(min=tolerance))[:, None]
    explained = torch.einsum("iek,jec->ijkc", u, wanted).square().sum((2, 3))
    return (wanted.square().sum((1, 2)) - explained).clamp(min=0)
