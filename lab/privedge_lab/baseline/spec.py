"""NetworkSpec: a plain classifier's architecture as data, with names for the places to cut it.

A spec has no code, and this module needs no torch. A cut is named by the layer whose outputs are
sent: `relu2` sends the outputs of the layer called relu2. The layers up to the cut are the head
(the device's), the others the tail (the server's).

Shapes are those of one sample, without the batch: (channels, height, width) or (features,). A
signal is an image of height 1, its width the points in time: (channels, 1, points).
"""

import hashlib
import json
import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from privedge.errors import CheckpointError

# The name of a network, and of the files of its parts.
FILE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Layer(_Frozen):
    name: Name


class Conv(_Layer):
    """2-D convolution with bias and the same padding on all sides."""

    kind: Literal["conv"] = "conv"
    inputs: int = Field(ge=1, le=4096)
    outputs: int = Field(ge=1, le=4096)
    kernel: int = Field(ge=1, le=16)
    stride: int = Field(default=1, ge=1, le=16)
    padding: int = Field(default=0, ge=0, le=16)


class SignalConv(_Layer):
    """Convolution along time with bias and the same padding at both ends, for signals."""

    kind: Literal["signal_conv"] = "signal_conv"
    inputs: int = Field(ge=1, le=4096)
    outputs: int = Field(ge=1, le=4096)
    kernel: int = Field(ge=1, le=64)
    stride: int = Field(default=1, ge=1, le=16)
    padding: int = Field(default=0, ge=0, le=32)


class Linear(_Layer):
    """Fully connected layer with bias."""

    kind: Literal["linear"] = "linear"
    inputs: int = Field(ge=1, le=1 << 20)
    outputs: int = Field(ge=1, le=1 << 16)


class BatchNorm(_Layer):
    """Batch normalisation over the channels of an image."""

    kind: Literal["batch_norm"] = "batch_norm"
    channels: int = Field(ge=1, le=4096)


class Pool(_Layer):
    """Maximum or mean of each `size` x `size` block."""

    kind: Literal["max_pool", "avg_pool"]
    size: int = Field(default=2, ge=2, le=16)


class LeakyRelu(_Layer):
    """max(x, 0) + slope * min(x, 0)"""

    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: float = Field(default=0.2, gt=0, lt=1)


class Dropout(_Layer):
    """Dropout, in training only: each value becomes 0 with probability `rate`."""

    kind: Literal["dropout"] = "dropout"
    rate: float = Field(gt=0, lt=1)


class Plain(_Layer):
    """A layer without settings."""

    kind: Literal["relu", "sigmoid", "tanh", "flatten"]


Layer = Annotated[
    Conv | SignalConv | Linear | BatchNorm | Pool | LeakyRelu | Dropout | Plain,
    Field(discriminator="kind"),
]


class NetworkSpec(_Frozen):
    """One architecture: its input shape, how pixels are scaled, its layers, its classes.

    Pixels in [0, 1] become (pixel - mean) / std, per channel, before the first layer. With one
    class the network is a regression: its one output is the value itself.
    """

    name: str = Field(pattern=rf"^{FILE_NAME.pattern}$")
    input: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: int = Field(ge=1, le=1 << 16)
    layers: tuple[Layer, ...] = Field(min_length=2, max_length=128)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        channels, height, width = self.input
        image = channels in (1, 3) and 8 <= height <= 1024 and 8 <= width <= 1024
        signal = 1 <= channels <= 64 and height == 1 and 8 <= width <= 4096
        if not (image or signal):
            raise ValueError(
                "input: (channels 1 or 3, height, width), sides 8 to 1024; "
                "a signal: (channels 1 to 64, 1, points), 8 to 4096 points"
            )
        if not len(self.mean) == len(self.std) == channels or min(self.std) <= 0:
            raise ValueError("mean, std: one value a channel, std above 0")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise ValueError("layers: two have the same name")
        return self

    @property
    def regression(self) -> bool:
        """Whether the output is a value, and not scores of classes."""
        return self.classes == 1

    @property
    def cuts(self) -> tuple[str, ...]:
        """The possible cuts: after each layer but the last."""
        return tuple(layer.name for layer in self.layers[:-1])

    def to_json(self) -> str:
        """Return the canonical text: equal specs give equal text."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, *, where: str) -> "NetworkSpec":
        """Parse a spec. Raises CheckpointError, naming `where`, for anything that is not one."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise CheckpointError(f"{where}: network {place}: {first['msg']}") from None

    def digest(self) -> str:
        """Return the SHA-256 of the canonical text, in hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()
