"""How far something is that takes long: one way to be told, for every caller."""

from typing import Protocol


class Progress(Protocol):
    """Called now and then; what it is given stays on this device."""

    def __call__(self, doing: str, done: int, total: int, /) -> None:
        """`doing` in a word ("train", "upload"), and how much of `total` is done."""
