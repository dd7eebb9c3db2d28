"""Level 2 against AES in ECB mode: a dictionary from ciphertext blocks to plain ones.

Blocks are cut where AES has them, 4 x 4 of one channel. (The released code cut the interleaved
raster into runs of 16 bytes, which are not the AES blocks of a colour image.) The pairs reveal a
shuffle: blocks at a plain position and at its disguised one are equal in the same pairs of images.
"""

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment

from privedge_lab.attacks.views import KnownPairsView
from privedge_lab.disguise.aes import to_bytes
from privedge_lab.disguise.blocks import Grid, grid
from privedge_lab.disguise.settings import Aes

_Block = tuple[int, bytes]


@dataclass(frozen=True)
class Recovered:
    """Images float32 (n, C, H, W), grey where unknown, and which blocks the dictionary had.

    `hits` bool (n, C, positions): the blocks that were found. `background`, of the same shape: the
    found blocks that equal the most frequent one.
    """

    images: torch.Tensor
    hits: torch.Tensor
    background: torch.Tensor


def codebook(view: KnownPairsView) -> Recovered:
    """Recover all disguised images, as far as a dictionary of the known pairs has their blocks.

    Raises ValueError for a disguise that is not AES.
    """
    settings = view.sized.settings
    if not isinstance(settings, Aes):
        raise ValueError("a codebook is for AES; use regression on known pairs")
    cells = grid(view.sized)
    plain = cells.cut(view.known)
    seen, wanted = (
        to_bytes(cells.cut_disguised(x)).flatten(-2) for x in (view.known_disguised, view.disguised)
    )
    if settings.shuffle:
        order = _order(to_bytes(plain).flatten(-2), seen)
        seen, wanted = seen[:, :, order], wanted[:, :, order]
    one_key = settings.keys == "one"
    book = dict(zip(_names(seen, one_key), plain.flatten(0, 2), strict=True))
    return _read(book, wanted, cells, one_key)


def _read(
    book: dict[_Block, torch.Tensor], wanted: torch.Tensor, cells: Grid, one_key: bool
) -> Recovered:
    unknown = torch.full((cells.block, cells.block), 0.5)
    found = [book.get(name) for name in _names(wanted, one_key)]
    hits = torch.tensor([block is not None for block in found]).reshape(wanted.shape[:3])
    blocks = torch.stack([unknown if block is None else block for block in found])
    blocks = blocks.reshape(*wanted.shape[:3], cells.block, cells.block)
    kinds, counts = blocks[hits].flatten(1).unique(dim=0, return_counts=True)
    most = kinds[counts.argmax()] if len(kinds) else unknown.flatten()
    background = hits & (blocks.flatten(-2) == most).all(-1)
    return Recovered(cells.crop(cells.join(blocks)), hits, background)


def _names(raster: torch.Tensor, one_key: bool) -> list[_Block]:
    """Return each block's bytes, and its position if each position has its own key."""
    n, channels, positions, length = raster.shape
    text = raster.contiguous().numpy().tobytes()
    return [
        (0 if one_key else at % positions, text[at * length : (at + 1) * length])
        for at in range(n * channels * positions)
    ]


def _order(plain: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Return, for each plain position, the disguised one with blocks equal in the same images."""
    costs = torch.cdist(_equalities(plain), _equalities(seen), p=1)
    return torch.from_numpy(linear_sum_assignment(costs.numpy())[1])


def _equalities(raster: torch.Tensor) -> torch.Tensor:
    """Return float32 (positions, (n C)^2): 1 where two images' blocks at one position are equal."""
    rows = []
    for place in raster.flatten(0, 1).unbind(1):
        kinds = place.unique(dim=0, return_inverse=True)[1]
        rows.append((kinds[:, None] == kinds).flatten())
    return torch.stack(rows).float()
