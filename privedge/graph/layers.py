"""The closed list of layers of a served model, and the shapes that they give.

All of it is public. Shapes are those of one sample, without the batch. A layer takes the output of
the layer before it, unless `of` names another one: by its place, or -1 for the model's input.

Convolutions and pooling take maps, (channels, height, width), or signals, (channels, length). A
signal is a map of height 1, and what comes of it is a signal again.
"""

import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from privedge.errors import CheckpointError

Shape = tuple[int, ...]

# A mean is a sum times 2^30 / n, rounded: of more values that would show in a score.
_MOST_AVERAGED = 4096


class Frozen(BaseModel):
    """Of every part of a graph: fields that nobody changes, and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Layer(Frozen):
    of: int | None = Field(default=None, ge=-1, lt=128)


_Side = Annotated[int, Field(ge=1, le=16)]


class Conv(_Layer):
    """Convolution with bias: zeros are added on all sides. Of a signal: kernel (1, K), padding
    (0, P).
    """

    kind: Literal["conv"] = "conv"
    channels: int = Field(ge=1, le=4096)
    kernel: Annotated[tuple[_Side, _Side], Field(strict=False)]
    stride: int = Field(default=1, ge=1, le=16)
    padding: Annotated[
        tuple[Annotated[int, Field(ge=0, le=15)], Annotated[int, Field(ge=0, le=15)]],
        Field(strict=False),
    ] = (0, 0)


class Dense(_Layer):
    """A fully connected layer with bias. Its input has one dimension."""

    kind: Literal["dense"] = "dense"
    features: int = Field(ge=1, le=1 << 16)


class Relu(_Layer):
    """max(x, 0)"""

    kind: Literal["relu"] = "relu"


class Square(_Layer):
    """x^2, an activation that needs no comparison"""

    kind: Literal["square"] = "square"


class MaxPool(_Layer):
    """The greatest value of each window; windows are inside of the map. They are square, and of a
    signal `window` values long.
    """

    kind: Literal["max_pool"] = "max_pool"
    window: int = Field(ge=2, le=4)
    stride: int = Field(ge=1, le=16)


class AveragePool(_Layer):
    """The mean of each window; windows are inside of the map."""

    kind: Literal["average_pool"] = "average_pool"
    window: Annotated[
        tuple[Annotated[int, Field(ge=1, le=4096)], Annotated[int, Field(ge=1, le=4096)]],
        Field(strict=False),
    ]
    stride: int = Field(ge=1, le=64)

    @model_validator(mode="after")
    def _few(self) -> Self:
        if math.prod(self.window) > _MOST_AVERAGED:
            raise ValueError(f"a mean is of at most {_MOST_AVERAGED} values")
        return self


class Flatten(_Layer):
    """One dimension with all values, row by row."""

    kind: Literal["flatten"] = "flatten"


class Add(_Layer):
    """The sum with the output of layer `plus`, which is of the same shape."""

    kind: Literal["add"] = "add"
    plus: int = Field(ge=-1, lt=128)


Layer = Annotated[
    Conv | Dense | Relu | Square | MaxPool | AveragePool | Flatten | Add,
    Field(discriminator="kind"),
]


def source(layer: Layer, index: int) -> int:
    """Return the place of the layer whose output layer number `index` takes; -1 for the input."""
    return index - 1 if layer.of is None else layer.of


def output_shape(layer: Layer, shape: Shape, where: str) -> Shape:
    """Return the shape of a layer's output for an input of `shape`. Raises CheckpointError."""
    match layer:
        case Conv() | MaxPool() | AveragePool():
            return _windowed(layer, shape, where)
        case Dense(features=features):
            if len(shape) != 1:
                raise CheckpointError(f"{where}: needs one dimension, got {shape}; flatten it")
            return (features,)
        case Flatten():
            return (math.prod(shape),)
        case _:
            return shape


def _windowed(layer: Conv | MaxPool | AveragePool, shape: Shape, where: str) -> Shape:
    """The same for a layer that looks at windows of a map or of a signal."""
    axes, padding, channels = len(shape) - 1, (0, 0), shape[0]
    if axes not in (1, 2):
        raise CheckpointError(
            f"{where}: needs (channels, length) or (channels, height, width), got {shape}"
        )
    match layer:
        case Conv():
            window, padding, channels = layer.kernel, layer.padding, layer.channels
        case MaxPool(window=side):
            window = (side if axes == 2 else 1, side)
        case AveragePool():
            window = layer.window
    if axes == 1 and (window[0], padding[0]) != (1, 0):
        raise CheckpointError(f"{where}: its input is a signal; its window needs height 1")
    padded = tuple(side + 2 * zeros for side, zeros in zip(shape[1:], padding[-axes:], strict=True))
    return (channels, *_windows(padded, window[-axes:], layer.stride, where))


def _windows(size: Shape, window: Shape, stride: int, where: str) -> Shape:
    found = tuple((side - w) // stride + 1 for side, w in zip(size, window, strict=True))
    if min(found) < 1:
        raise CheckpointError(f"{where}: its window is larger than its input {size}")
    return found


def parameters(layer: Layer, shape: Shape) -> dict[str, Shape]:
    """Return the shapes of a layer's parameters by name, for an input of `shape`."""
    match layer:
        case Conv(channels=channels, kernel=kernel):
            return {"weight": (channels, shape[0], *kernel), "bias": (channels,)}
        case Dense(features=features):
            return {"weight": (features, shape[0]), "bias": (features,)}
        case _:
            return {}


def comparisons(layer: Layer, before: Shape, after: Shape) -> int:
    """Return how many pairs of numbers a layer compares for one sample."""
    match layer:
        case Relu():
            return math.prod(before)
        case MaxPool(window=window):
            entries = _entries(window, before)
            return math.prod(after) * entries * (entries - 1) // 2
        case _:
            return 0


def _entries(side: int, shape: Shape) -> int:
    """How many values a pooling window has: a square of a map, a row of a signal."""
    return side if len(shape) == 2 else side * side


def unfolded(layer: Layer, before: Shape, after: Shape) -> int:
    """Return how many numbers the windows of a layer have for one sample: what is in memory."""
    windows = math.prod(after[1:])
    match layer:
        case Conv(kernel=kernel):
            return before[0] * math.prod(kernel) * windows
        case MaxPool(window=window):
            return math.prod(after) * _entries(window, before)
        case _:
            return math.prod(before)


def products(layer: Layer, before: Shape, after: Shape) -> int:
    """Return how many numbers a layer multiplies for one sample."""
    match layer:
        case Conv(kernel=kernel):
            return math.prod(after) * before[0] * math.prod(kernel)
        case Dense():
            return before[0] * after[0]
        case Square():
            return math.prod(before)
        case _:
            return 0
