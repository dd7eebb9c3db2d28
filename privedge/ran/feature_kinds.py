"""The public feature maps as data: what owner and client compute of their data, in the clear.

How each is computed stands in privedge/ran/features.py.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Shape = tuple[int, ...]


class Frozen(BaseModel):
    """Of every part of a spec: fields that nobody changes, and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Count = Annotated[int, Field(ge=0, le=512)]
_Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]
_ByChannel = Annotated[tuple[_Finite, ...], Field(min_length=1, max_length=3)]
_Point = tuple[_Finite, _Finite]


class Pixels(Frozen):
    """The image itself, scaled to [-1, 1]."""

    kind: Literal["pixels"] = "pixels"


class Oriented(Frozen):
    """Oriented gradient maps, average-pooled over `cell` x `cell` pixels (ran/features.py)."""

    kind: Literal["oriented"] = "oriented"
    cell: int = Field(ge=2, le=32)


class OrientedScales(Frozen):
    """Oriented gradient maps of the image blurred by each of `blurs` (sigma, pixels), all at once.

    (len(blurs) * directions, height / cell, width / cell): the maps of the first blur come first.
    """

    kind: Literal["oriented-scales"] = "oriented-scales"
    cell: int = Field(ge=2, le=32)
    directions: int = Field(ge=4, le=64)
    blurs: tuple[Annotated[float, Field(gt=0, le=8)], ...] = Field(min_length=1, max_length=8)


class OrientedCentre(Frozen):
    """The cells in the middle of the OrientedScales map of the whole image.

    `left_out` counts the columns and rows of cells that are dropped: (left, right, top, bottom),
    the order of `Conv.padding`.
    """

    kind: Literal["oriented-centre"] = "oriented-centre"
    cell: int = Field(ge=2, le=32)
    directions: int = Field(ge=4, le=64)
    blurs: tuple[Annotated[float, Field(gt=0, le=8)], ...] = Field(min_length=1, max_length=8)
    left_out: tuple[_Count, _Count, _Count, _Count]


class Cooccurrence(Frozen):
    """Co-occurrence of stroke orientations, for handwriting (ran/features.py); 864 values."""

    kind: Literal["cooccurrence"] = "cooccurrence"


class FineCooccurrence(Frozen):
    """Co-occurrence of more `directions` than Cooccurrence has; 6 * directions^2 values."""

    kind: Literal["fine-cooccurrence"] = "fine-cooccurrence"
    directions: int = Field(ge=4, le=32)


class EncoderInput(Frozen):
    """How an encoder wants its pictures: value = pixel * scale + offset, pixel from 0 to 255.

    order: of the channels of a colour picture. layout: of the axes. scale, offset: one number for
    all channels, or one for each in `order`.
    """

    order: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    scale: _ByChannel = (1 / 127.5,)
    offset: _ByChannel = (-1.0,)

    @model_validator(mode="after")
    def _by_channel(self) -> Self:
        if {len(self.scale), len(self.offset)} - {1, 3}:
            raise ValueError("scale, offset: give one number, or one for each of three channels")
        if 0.0 in self.scale:
            raise ValueError("scale: must not be 0, which would make all pictures equal")
        return self

    @property
    def channels(self) -> Literal[1, 3]:
        """3 if each channel has a number of its own, else 1."""
        return 3 if 3 in (len(self.scale), len(self.offset)) else 1


class Alignment(Frozen):
    """How a face is cut out before the encoder: a detector's five points are moved to `template`.

    detector: the SHA-256 of the detector's ONNX file.
    template: (x, y) of right eye, left eye, nose, right and left corner of the mouth, as the person
        has them, in pixels of the spec's image.
    smallest: faces of fewer pixels, on the shorter side of their box, are refused.
    """

    detector: str = Field(pattern=r"^[0-9a-f]{64}$")
    template: tuple[_Point, _Point, _Point, _Point, _Point]
    smallest: int = Field(default=16, ge=8, le=1024)


class Encoder(Frozen):
    """A public encoder in an ONNX file. Its SHA-256 ensures that everybody uses the same one.

    input: how it wants its pictures.
    unit_length: whether its output is divided by its length.
    aligned: how the face is cut out of a picture; None: the whole picture is brought to size.
    """

    kind: Literal["encoder"] = "encoder"
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    output: Annotated[Shape, Field(min_length=1, max_length=4)]
    input: EncoderInput = EncoderInput()
    unit_length: bool = False
    aligned: Alignment | None = None

    @model_serializer(mode="wrap")
    def _without_defaults(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what says nothing, so that the digest of a spec from before stays the same."""
        fields: dict[str, Any] = dump(self)
        says_nothing = {"input": EncoderInput(), "unit_length": False, "aligned": None}
        silent = [name for name, value in says_nothing.items() if getattr(self, name) == value]
        return {name: value for name, value in fields.items() if name not in silent}


class Vector(Frozen):
    """Vectors of `size` numbers that owner and client bring themselves, in place of pictures.

    unit_length: whether every vector is divided by its length.
    """

    kind: Literal["vector"] = "vector"
    size: int = Field(ge=2, le=1 << 16)
    unit_length: bool = False


Features = Annotated[
    Pixels
    | Oriented
    | OrientedScales
    | OrientedCentre
    | Cooccurrence
    | FineCooccurrence
    | Encoder
    | Vector,
    Field(discriminator="kind"),
]
