"""The discriminator: tells the owner's features from reconstructions while a RAN is trained.

It never leaves the owner's device and is discarded after training. For maps it is a PatchGAN with
one score per patch (docs/explanation/references.md#privedge; with width 64, at 3 x 32 x 32, it is
exactly the paper's). For vectors it is a small dense network. Scores are unbounded numbers, trained
by least squares (LSGAN).
"""

from torch import Tensor, nn

from privedge.ran.feature_kinds import Shape
from privedge.ran.model import build
from privedge.ran.spec import Conv, Dense, Layer, LeakyRelu, SampleNorm, output_shapes

_STAGES = 4


class Discriminator(nn.Sequential):
    """D: float32 (n, *shape) -> scores, (n, 1, rows, columns) for maps and (n, 1) for vectors.

    `width` is the number of maps after the first stage; each later stage has twice as many.
    """

    def __init__(self, shape: Shape, width: int) -> None:
        layers = _patches(shape, width) if min(shape[1:], default=0) >= 2 else _dense(width)
        super().__init__(*build(layers, [shape, *output_shapes(layers, shape)]))

    def hidden(self, features: Tensor) -> list[Tensor]:
        """Return what every layer but the last makes of features, float32 (n, *shape)."""
        found = []
        for layer in list(self)[:-1]:
            features = layer(features)
            found.append(features)
        return found


def _patches(shape: Shape, width: int) -> list[Layer]:
    stages = min(_STAGES, max(1, min(shape[1:]).bit_length() - 2))  # stop at 2 patches a side
    layers: list[Layer] = []
    for stage in range(stages):
        layers += [Conv(channels=width << stage, kernel=4, stride=2, padding=(1, 1, 1, 1))]
        layers += [LeakyRelu(slope=0.2)]
        layers += [SampleNorm()] if stage else []
    return [*layers, Conv(channels=1, kernel=4, padding=(1, 2, 1, 2))]


def _dense(width: int) -> list[Layer]:
    return [Dense(features=4 * width), LeakyRelu(slope=0.2), Dense(features=1)]
