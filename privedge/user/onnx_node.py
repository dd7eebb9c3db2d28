"""One operation of an ONNX file: its options by name and type, and its window.

Everything in it is the file's: names go into messages escaped and cut, and an option of another
type than its operation has is refused.
"""

from dataclasses import dataclass
from typing import Any

from privedge.errors import CheckpointError
from privedge.graph.layers import Shape

_AUTOMATIC = (b"NOTSET", b"VALID", b"SAME_UPPER", b"SAME_LOWER")


@dataclass(frozen=True)
class Node:
    """An operation: its name for messages, what it reads and writes, and its options."""

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    options: dict[str, Any]

    def refused(self, why: str) -> CheckpointError:
        """The error that says why this operation cannot be read, in one line."""
        return CheckpointError(f"operation {escaped(self.op)} (node '{escaped(self.name)}'): {why}")

    def integer(self, name: str, default: int) -> int:
        """A whole number. Raises CheckpointError for anything else, as all of these do."""
        found = self.options.get(name, default)
        if not isinstance(found, int):
            raise self.refused(f"its {name} must be a whole number")
        return found

    def integers(self, name: str, default: list[int]) -> list[int]:
        """A list of whole numbers."""
        found = self.options.get(name, default)
        if not isinstance(found, list) or not all(isinstance(each, int) for each in found):
            raise self.refused(f"its {name} must be whole numbers")
        return found

    def number(self, name: str, default: float) -> float:
        """A number."""
        found = self.options.get(name, default)
        if not isinstance(found, int | float):
            raise self.refused(f"its {name} must be a number")
        return found

    def window(self, shape: Shape, kernel: list[int] | None = None) -> "Window":
        """The window in which it looks at maps of `shape`; `kernel` is that of its weights.

        A signal, (channels, length), is a map of height 1. Raises CheckpointError for what a layer
        of the closed list has no words for.
        """
        axes = len(shape) - 1
        if axes not in (1, 2):
            raise self.refused("needs (channels, length) or (channels, height, width)")
        kernel = self.integers("kernel_shape", kernel or [])
        strides = self.integers("strides", [1] * axes)
        if len(kernel) != axes or len(strides) != axes or len({*strides}) != 1:
            raise self.refused("must have as many dimensions as its input, and one stride for all")
        dilated = {*self.integers("dilations", [])} - {1}
        if dilated or self.integer("group", 1) != 1 or self.integer("ceil_mode", 0):
            raise self.refused("has groups, dilation, or sizes that are rounded up")
        pads = self._pads(kernel, strides[0])
        if len(pads) != 2 * axes or pads[:axes] != pads[axes:]:
            raise self.refused("has not the same padding on both sides")
        flat = [1] * (2 - axes), [0] * (2 - axes)
        return Window(flat[0] + kernel, strides[0], flat[1] + pads[:axes])

    def _pads(self, kernel: list[int], stride: int) -> list[int]:
        """Zeros before each axis, and then after each."""
        automatic = self.options.get("auto_pad", b"NOTSET")
        if automatic not in _AUTOMATIC:
            raise self.refused("its auto_pad is none of ONNX's")
        if automatic == b"NOTSET":
            return self.integers("pads", [0] * 2 * len(kernel))
        if automatic == b"VALID":
            return [0] * 2 * len(kernel)
        if stride != 1 or any(side % 2 == 0 for side in kernel):
            raise self.refused("pads automatically, and so not the same on both sides")
        return [side // 2 for side in kernel] * 2


@dataclass(frozen=True)
class Window:
    """Rows and columns of a window, its stride, and the zeros on each side of the map."""

    kernel: list[int]
    stride: int
    padding: list[int]


def escaped(text: str) -> str:
    """A text from the file as one line without control characters, cut."""
    return ascii(text[:60])[1:-1][:80]
