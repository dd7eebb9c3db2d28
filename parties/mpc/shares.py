"""One party's share of a number, with the operations that each party carries out on its own."""

from typing import Any, overload

import torch


class Shared:
    """A share, int64 of any shape: an mpc.engine.Number. It has no useful repr.

    All operations are linear, and exact in the ring: what both parties' results open to is the
    operation on what their shares open to.
    """

    __slots__ = ("share",)

    def __init__(self, share: torch.Tensor) -> None:
        self.share = share

    @overload
    def size(self) -> torch.Size: ...
    @overload
    def size(self, dim: int) -> int: ...
    def size(self, dim: int | None = None) -> torch.Size | int:
        """Return the shape, or the extent along `dim`."""
        return self.share.shape if dim is None else self.share.shape[dim]

    def __add__(self, other: "Shared") -> "Shared":
        return Shared(self.share + other.share)

    def __sub__(self, other: "Shared") -> "Shared":
        return Shared(self.share - other.share)

    def __getitem__(self, index: Any) -> "Shared":
        return Shared(self.share[index])

    def reshape(self, *shape: int) -> "Shared":
        """Return the same numbers in another shape."""
        return Shared(self.share.reshape(shape))

    def transpose(self, first: int, second: int) -> "Shared":
        """Exchange two dimensions."""
        return Shared(self.share.transpose(first, second))

    def unsqueeze(self, dim: int) -> "Shared":
        """Insert a dimension of extent 1."""
        return Shared(self.share.unsqueeze(dim))

    def expand(self, *shape: int) -> "Shared":
        """Repeat along dimensions of extent 1, without copying."""
        return Shared(self.share.expand(shape))

    def sum(self, dim: int) -> "Shared":
        """Add up along `dim`."""
        return Shared(self.share.sum(dim))
