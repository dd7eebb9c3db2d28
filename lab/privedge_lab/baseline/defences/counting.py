"""The counting condition of Dong et al. 2017 (arXiv 1711.07520) for a cut and a share to drop.

Outputs of known layers are equations in the pixels. If at least as many outputs are kept as there
are pixels, they determine the image in general. If fewer are kept, the equations alone do not. But
attackers also know that pixels look like an image, which is a further equation. So the condition is
necessary and not sufficient; privedge_lab.attacks measures what remains.

For convolutions the condition is tested twice: for the whole image, and for each position, where
the outputs are compared with the pixels of their patch. Patches overlap, so many layers that invert
almost perfectly satisfy the second (LeNet's conv1: 8 outputs for 25 pixels, 4,608 for 784).
"""

import math
from dataclasses import dataclass

from privedge_lab.baseline.defences.dropping import kept_of
from privedge_lab.baseline.network import sent_shape
from privedge_lab.baseline.spec import Conv, Linear, NetworkSpec, Pool, SignalConv


@dataclass(frozen=True)
class Counting:
    """The number of outputs kept at `cut`, and of the pixels that they come from."""

    cut: str
    drop_rate: float
    inputs: int
    outputs: int
    kept: int
    # Convolutions only: pixel values of one patch, and outputs kept at one position, on average.
    patch: int | None
    kept_of_patch: float | None

    @property
    def holds(self) -> bool:
        """Whether fewer outputs than pixels are kept, in all and (convolutions) per position."""
        of_patch = self.patch is None or (self.kept_of_patch or 0.0) < self.patch
        return self.kept < self.inputs and of_patch

    @property
    def needed(self) -> float:
        """The least share to drop so that fewer outputs than pixels are kept in all."""
        return max(0.0, 1 - (self.inputs - 1) / self.outputs)

    def text(self) -> str:
        """Describe the count for people, in one or two lines."""
        verdict = "holds" if self.holds else f"does not hold: drop at least {self.needed:.3f}"
        lines = [
            f"{self.cut}: {self.kept:,} of {self.outputs:,} outputs kept for {self.inputs:,} "
            f"pixel values; the counting condition {verdict}"
        ]
        if self.patch is not None:
            lines.append(
                f"each position: {self.kept_of_patch:.1f} outputs kept on average for a patch of "
                f"{self.patch} pixel values"
            )
        return "\n".join(lines)


def counting(spec: NetworkSpec, cut: str, drop_rate: float) -> Counting:
    """Count outputs for `drop_rate` in [0, 1) at `cut`. Raises ConfigError for an unknown cut."""
    shape = sent_shape(spec, cut)
    outputs, inputs = math.prod(shape), math.prod(spec.input)
    side = _patch_side(spec, cut)
    patch = None if side is None else _patch(spec, side)
    # A flattened image still has its positions.
    channels = None if patch is None else _channels(spec, cut)
    return Counting(
        cut=cut,
        drop_rate=drop_rate,
        inputs=inputs,
        outputs=outputs,
        kept=kept_of(outputs, drop_rate),
        patch=patch,
        kept_of_patch=None if channels is None else channels * (1 - drop_rate),
    )


def _before(spec: NetworkSpec, cut: str) -> list[object]:
    names = [layer.name for layer in spec.layers]
    return list(spec.layers[: names.index(cut) + 1])


def _patch_side(spec: NetworkSpec, cut: str) -> int | None:
    """Return the side of one output's patch; None where every output sees all pixels."""
    side, step = 1, 1
    for layer in _before(spec, cut):
        if isinstance(layer, Linear):
            return None
        if isinstance(layer, Conv | SignalConv):
            side, step = side + (layer.kernel - 1) * step, step * layer.stride
        elif isinstance(layer, Pool):
            side, step = side + (layer.size - 1) * step, step * layer.size
    return side


def _patch(spec: NetworkSpec, side: int) -> int:
    channels, height, width = spec.input
    return channels * min(side, height) * min(side, width)


def _channels(spec: NetworkSpec, cut: str) -> int:
    widths = [layer.outputs for layer in _before(spec, cut) if isinstance(layer, Conv | SignalConv)]
    return widths[-1] if widths else spec.input[0]
