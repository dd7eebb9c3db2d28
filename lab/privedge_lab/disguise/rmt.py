"""Randomised multidimensional transformation: X R for each block, one R per position.

R multiplies from the right, as in the authors' code, so it mixes the pixels of each row of a block.
All images and all channels share the R of a position (DisguisedNets 2023); otherwise the network
could not learn.
"""

import torch

from privedge_lab.disguise.keys import KeyStream
from privedge_lab.disguise.settings import Rmt

# Uniform matrices can be nearly singular; such a matrix makes float32 images useless.
_MAX_CONDITION = 1e4


class RmtTransform:
    """The matrices of all positions. Secret; no useful repr."""

    def __init__(self, secret: bytes, settings: Rmt, positions: int) -> None:
        streams = [KeyStream(secret, f"rmt {settings.matrix}", at) for at in range(positions)]
        draw = _orthogonal if settings.matrix == "orthogonal" else _projections
        self.matrices = draw(streams, settings.block)

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """Multiply each block of (n, C, positions, k, k), float32 or float64, by its matrix."""
        return (blocks.double() @ self.matrices).to(blocks.dtype)

    def inverse(self, blocks: torch.Tensor) -> torch.Tensor:
        """Undo `forward`, up to rounding."""
        images: torch.Tensor = torch.linalg.solve(self.matrices, blocks.double(), left=False)
        return images.to(blocks.dtype)


def _orthogonal(streams: list[KeyStream], side: int) -> torch.Tensor:
    """Draw Haar-distributed matrices: QR of normals, with unique signs (Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.stack([stream.normal((side, side)) for stream in streams]))
    unique: torch.Tensor = q * r.diagonal(dim1=1, dim2=2).sign()[:, None, :]
    return unique


def _projections(streams: list[KeyStream], side: int) -> torch.Tensor:
    return torch.stack([_projection(stream, side) for stream in streams])


def _projection(stream: KeyStream, side: int) -> torch.Tensor:
    while True:
        matrix = stream.uniform((side, side))
        if torch.linalg.cond(matrix) < _MAX_CONDITION:
            return matrix
