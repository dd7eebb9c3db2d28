"""Small random cohorts: public weights, for arithmetic only."""

import numpy as np

from privedge.ran.feature_kinds import Oriented, Pixels
from privedge.ran.spec import (
    Clip,
    Conv,
    Dense,
    ImageShape,
    LeakyRelu,
    RanSpec,
    Relu,
    Reshape,
    SampleNorm,
    Square,
    Subspace,
    Tanh,
    Upsample,
)
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import Words

_IMAGE = ImageShape(height=8, width=8, channels=1)

SPECS = [
    RanSpec(
        name="every-conv",
        image=_IMAGE,
        features=Pixels(),
        layers=(
            Conv(channels=4, kernel=4, stride=2, padding=(1, 1, 1, 1)),
            Relu(),
            Conv(channels=3, kernel=3, padding=(1, 1, 0, 2)),
            LeakyRelu(slope=0.2),
            Upsample(factor=2),
            Conv(channels=1, kernel=3, padding=(1, 1, 1, 1)),
        ),
    ),
    RanSpec(
        name="every-dense",
        image=_IMAGE,
        features=Oriented(cell=4),
        layers=(
            Dense(features=12),
            Square(weight=0.5),
            Dense(features=6),
            Dense(features=32),
            Relu(),
            Reshape(shape=(8, 2, 2)),
        ),
    ),
    RanSpec(
        name="subspace",
        image=_IMAGE,
        features=Oriented(cell=2),
        layers=(Subspace(components=5),),
    ),
    RanSpec(
        name="normed",
        image=_IMAGE,
        features=Pixels(),
        layers=(
            Conv(channels=4, kernel=4, stride=2, padding=(1, 1, 1, 1)),
            LeakyRelu(slope=0.2),
            SampleNorm(),
            Upsample(),
            Conv(channels=3, kernel=4, padding=(1, 2, 1, 2)),
            Relu(),
            SampleNorm(),
            Conv(channels=1, kernel=4, padding=(1, 2, 1, 2)),
            Tanh(),
        ),
    ),
    RanSpec(
        name="clipped",
        image=_IMAGE,
        features=Pixels(),
        layers=(Dense(features=8), Relu(), SampleNorm(eps=0.01), Dense(features=64), Clip()),
    ),
]


def cohort(spec: RanSpec, owners: int, *, seed: int = 0) -> dict[str, Words]:
    """Name -> (owners, *shape) words at f; thresholds out of the way."""
    rng = np.random.default_rng(seed)
    stacked = {}
    for name, shape in spec.parameters().items():
        spread = 1 / np.sqrt(np.prod(shape[1:]) or 1)
        values = rng.normal(size=(owners, *shape)) * spread
        stacked[name] = encode(np.full((owners, 1), 30000.0) if name == "threshold" else values)
    return stacked


def batch(spec: RanSpec, count: int, *, seed: int = 1) -> Words:
    """(count, *input_shape) words at f."""
    rng = np.random.default_rng(seed)
    return encode(rng.uniform(-1, 1, size=(count, *spec.input_shape)))
