"""RanSpec: a RAN's architecture as data. It holds no code, and needs no torch.

A spec is a feature map (public, computed in the clear by owner and client) and a list of layers
from a closed set. Owner, client, parties and dealer all read shapes from the spec; the parameters
travel separately. A cohort fixes the `digest()`: every model in it has the same spec.

Shapes are those of one sample, without the batch: (channels, height, width) or (features,).
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from privedge.errors import CheckpointError, ImageError
from privedge.ran.feature_kinds import (
    Cooccurrence,
    Encoder,
    Features,
    FineCooccurrence,
    Frozen,
    Oriented,
    OrientedCentre,
    OrientedScales,
    Pixels,
    Shape,
    Vector,
)

# --- Layers ---------------------------------------------------------------------------------------


class Conv(Frozen):
    """2-D convolution with bias. `padding` is (left, right, top, bottom)."""

    kind: Literal["conv"] = "conv"
    channels: int = Field(ge=1, le=4096)
    kernel: int = Field(ge=1, le=16)
    stride: int = Field(default=1, ge=1, le=16)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)


class Dense(Frozen):
    """A fully connected layer with bias. It flattens its input."""

    kind: Literal["dense"] = "dense"
    features: int = Field(ge=1, le=1 << 16)


class Reshape(Frozen):
    """Give the values another shape of the same size."""

    kind: Literal["reshape"] = "reshape"
    shape: Shape


class Upsample(Frozen):
    """Nearest-neighbour enlargement."""

    kind: Literal["upsample"] = "upsample"
    factor: int = Field(default=2, ge=2, le=8)


class Relu(Frozen):
    """max(x, 0)"""

    kind: Literal["relu"] = "relu"


class LeakyRelu(Frozen):
    """slope * x + (1 - slope) * max(x, 0)"""

    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: float = Field(default=0.2, gt=0, lt=1)


class Square(Frozen):
    """x + weight * x^2, an activation that needs no comparison"""

    kind: Literal["square"] = "square"
    weight: float = 0.5


class Tanh(Frozen):
    """tanh(x); the private spline differs from it by less than 0.001 (mpc/squash.py)"""

    kind: Literal["tanh"] = "tanh"


class Clip(Frozen):
    """max(-1, min(1, x)), for networks trained with it; costs a fifth of a private tanh"""

    kind: Literal["clip"] = "clip"


class SampleNorm(Frozen):
    """(x - mean) / (std + eps) * gamma + beta over the WHOLE sample, gamma and beta scalar.

    keras_contrib's InstanceNormalization with axis=None: eps is added to the standard deviation,
    not to the variance (docs/explanation/references.md#privedge).
    """

    kind: Literal["sample_norm"] = "sample_norm"
    eps: float = Field(default=1e-3, gt=0)


class Subspace(Frozen):
    """The linear reconstructor mean + V'V(x - mean), V (components x features) orthonormal rows."""

    kind: Literal["subspace"] = "subspace"
    components: int = Field(ge=1, le=4096)


Layer = Annotated[
    Conv
    | Dense
    | Reshape
    | Upsample
    | Relu
    | LeakyRelu
    | Square
    | Tanh
    | Clip
    | SampleNorm
    | Subspace,
    Field(discriminator="kind"),
]


class ImageShape(Frozen):
    """The size to which every image is brought before the feature map. Sides are in pixels."""

    height: int = Field(ge=8, le=1024)
    width: int = Field(ge=8, le=1024)
    channels: Literal[1, 3]


class RanSpec(Frozen):
    """The architecture of a RAN. Equal specs have equal digests.

    Attributes:
        name: the preset's name.
        image: the size to which pictures are brought, in pixels, and their channels; None for a
            model of vectors.
        features: the public feature map.
        layers: the layers of the network that reconstructs the features.

    Example:
        spec = preset("subspace32", height=32, width=32, channels=1)
        assert RanSpec.from_json(spec.to_json()).digest() == spec.digest()
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    image: ImageShape | None
    features: Features
    layers: tuple[Layer, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _has_an_image_unless_for_vectors(self) -> Self:
        if isinstance(self.features, Vector) and self.image is not None:
            raise ValueError("image: must be null, because the features are vectors")
        if not isinstance(self.features, Vector) and self.image is None:
            raise ValueError(f"image: is missing; the features {self.features.kind} need one")
        return self

    @property
    def image_shape(self) -> ImageShape:
        """The size to which pictures are brought. Raises ImageError for a model of vectors."""
        if self.image is None:
            raise ImageError(f"preset {self.name}: takes vectors, not pictures")
        return self.image

    @property
    def input_shape(self) -> Shape:
        """The shape of the feature map's output, which the layers reconstruct."""
        match self.features:
            case Vector(size=size):
                return (size,)
            case Cooccurrence():
                return (864,)
            case FineCooccurrence(directions=directions):
                return (6 * directions**2,)
            case Encoder(output=output):
                return output
            case maps:
                return _shape_of_maps(maps, self.image_shape)

    @property
    def components(self) -> int | None:
        """The number of components of a subspace spec; None for other networks."""
        first = self.layers[0]
        return first.components if isinstance(first, Subspace) else None

    def shapes(self) -> list[Shape]:
        """Compute the shape after each layer, without the batch axis.

        Returns:
            One shape for each layer, in order.

        Raises:
            CheckpointError: a layer does not fit its input, or the output differs in size from the
                features.
        """
        if min(self.input_shape) < 1:
            raise CheckpointError(f"spec {self.name}: the feature map of its images is empty")
        kind = self.features
        if isinstance(kind, Encoder) and self.image_shape.channels < kind.input.channels:
            raise CheckpointError(
                f"spec {self.name}: its encoder wants three channels, but its pictures have one"
            )
        shapes = output_shapes(self.layers, self.input_shape)
        if _size(shapes[-1]) != _size(self.input_shape):
            raise CheckpointError(
                f"spec {self.name}: the last layer gives {shapes[-1]}, "
                f"not the input {self.input_shape}"
            )
        return shapes

    def parameters(self) -> dict[str, Shape]:
        """List the names and shapes of all parameter tensors (float32).

        Returns:
            The shape of each tensor by name, in upload order. The last one is `threshold`, of shape
            (1,): the owner's bound on the dissimilarity, or 2^15 - 1 if the owner sets none.

        Raises:
            CheckpointError: as for `shapes`.
        """
        inputs = [self.input_shape, *self.shapes()]
        named: dict[str, Shape] = {}
        for index, layer in enumerate(self.layers):
            for name, shape in _layer_parameters(layer, inputs[index]).items():
                named[f"{index}.{name}"] = shape
        named["threshold"] = (1,)
        return named

    def to_json(self) -> str:
        """Return the spec as canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> "RanSpec":
        """Parse and check the text of a spec.

        Args:
            text: JSON, as from `to_json`.

        Returns:
            The spec.

        Raises:
            CheckpointError: the text is not a valid spec; the message names the fault.
        """
        try:
            spec = RanSpec.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            said = first["msg"].removeprefix("Value error, ")
            where = ".".join(str(part) for part in first["loc"])
            raise CheckpointError(": ".join(filter(None, ("spec", where, said)))) from None
        spec.shapes()
        return spec

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON, as 64 hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def output_shapes(layers: Sequence[Layer], shape: Shape) -> list[Shape]:
    """Compute the shape after each of `layers`. `shape` is the input of the first layer.

    Raises CheckpointError if a layer does not fit its input.
    """
    shapes = []
    for index, layer in enumerate(layers):
        shape = _output_shape(layer, shape, where=f"layer {index} ({layer.kind})")
        shapes.append(shape)
    return shapes


def _shape_of_maps(
    features: Pixels | Oriented | OrientedScales | OrientedCentre, image: ImageShape
) -> Shape:
    match features:
        case Pixels():
            return (image.channels, image.height, image.width)
        case Oriented(cell=cell):
            return (8, image.height // cell, image.width // cell)
        case OrientedScales(cell=cell, directions=directions, blurs=blurs):
            return (directions * len(blurs), image.height // cell, image.width // cell)
        case OrientedCentre() as kept:
            left, right, top, bottom = kept.left_out
            rows = image.height // kept.cell - top - bottom
            columns = image.width // kept.cell - left - right
            return (kept.directions * len(kept.blurs), rows, columns)


def _size(shape: Shape) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def _output_shape(layer: Layer, shape: Shape, *, where: str) -> Shape:
    match layer:
        case Conv() | Upsample() if len(shape) != 3:
            raise CheckpointError(f"{where}: needs (channels, height, width), got {shape}")
        case Conv(channels=channels, kernel=kernel, stride=stride, padding=(left, right, top, low)):
            height = (shape[1] + top + low - kernel) // stride + 1
            width = (shape[2] + left + right - kernel) // stride + 1
            if height < 1 or width < 1:
                raise CheckpointError(f"{where}: the kernel is larger than its input {shape}")
            return (channels, height, width)
        case Upsample(factor=factor):
            return (shape[0], shape[1] * factor, shape[2] * factor)
        case Dense(features=features):
            return (features,)
        case Reshape(shape=target):
            if _size(target) != _size(shape):
                raise CheckpointError(f"{where}: cannot turn {shape} into {target}")
            return target
        case _:
            return shape


def _layer_parameters(layer: Layer, shape: Shape) -> dict[str, Shape]:
    match layer:
        case Conv(channels=channels, kernel=kernel):
            return {"weight": (channels, shape[0], kernel, kernel), "bias": (channels,)}
        case Dense(features=features):
            return {"weight": (features, _size(shape)), "bias": (features,)}
        case SampleNorm():
            return {"gamma": (1,), "beta": (1,)}
        case Subspace(components=components):
            return {"basis": (components, _size(shape)), "mean": (_size(shape),)}
        case _:
            return {}
