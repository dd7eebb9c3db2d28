"""Marks on the parameters of a model: they are masked once, not opened for every query.

A marked weight W has a mask A of its own (docs/protocol.md#fixed-products), which must never hide
another W: E - E' would be the difference of two weights. So a mark dies with the first change of
its words, and a product with an unmarked tensor is Beaver's, which opens it under fresh masks.

A mask goes by the weight's name. It is a digest of the parameter's path and of the form in which
products use it, so that a convolution of images of another size has a mask of its own too.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import torch

from privedge.errors import AlreadyExists, NotAllowed

_LETTERS = 16


@dataclass
class Mark:
    """What the share object of a marked parameter carries.

    words: this party's share, as it was when it was marked.
    held: the tensor of the share object that has this mark: `words`, or its transposed.
    known_as: the weight's name where its form is always the same; None for a digest.
    """

    path: str
    words: torch.Tensor = field(repr=False)
    held: torch.Tensor = field(repr=False)
    version: int
    of: "Mark | None" = None
    alive: bool = True
    known_as: str | None = None

    @property
    def transposed(self) -> bool:
        """Whether this is the mark of the transposed parameter."""
        return self.of is not None

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether `tensor` is still what was marked, with no word changed in place."""
        root = self.of or self
        return root.alive and self.held is tensor and root.words._version == root.version

    def turned(self, tensor: torch.Tensor) -> "Mark":
        """The mark of the transposed parameter, which `tensor` is."""
        root = self.of or self
        of = None if self.of else root
        return Mark(root.path, root.words, tensor, root.version, of, known_as=root.known_as)

    def name(self, form: str) -> str:
        """The weight's name for products in this form, as the dealer knows it: it tells nothing."""
        if self.known_as is not None:
            return self.known_as
        digest = hashlib.sha256(f"{self.path}\0{form}".encode()).digest()
        letters = "".join(chr(ord("a") + byte % 26) for byte in digest[:_LETTERS])
        return f"{int.from_bytes(digest[_LETTERS:], 'big') % 1000}.{letters}"


class Marks:
    """The paths that were marked in one run, each once."""

    def __init__(self) -> None:
        self._paths: set[str] = set()

    def mark(self, share: Any, path: str) -> None:
        """Mark an ArithmeticSharedTensor. Raises AlreadyExists for a path that was marked, and
        NotAllowed for a value that still has to be truncated.
        """
        if path in self._paths:
            raise AlreadyExists(f"{path} was marked before; a mask belongs to one weight")
        if share._late:
            raise NotAllowed(f"{path} is a product: mark parameters only")
        self._paths.add(path)
        words = share._tensor
        share._mark = Mark(path, words, words, words._version)


def forget(share: Any) -> None:
    """The words of this share object may change from now on, unseen: its mark dies."""
    mark = share._mark
    if mark is not None:
        (mark.of or mark).alive = False
        share._mark = None


def current(share: Any) -> Mark | None:
    """The mark of an ArithmeticSharedTensor, unless its words have changed."""
    mark: Mark | None = share._mark
    return mark if mark is not None and mark.holds(share._tensor) else None
