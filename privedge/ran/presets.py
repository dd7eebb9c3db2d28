"""Ready-made RAN architectures, by name. Public facts only; no torch.

A preset fixes the image size: the device resizes images to it. `paper` is the original network.
`conv*` are small networks that, like it, reconstruct pixels. `ran*` reconstruct oriented gradient
maps with one layer of ReLUs, and are trained adversarially. `subspace*` reconstruct feature maps
linearly, in closed form, without a discriminator.

`auto` picks `ran32-fine` or `ran64-fine` by size. It picks a subspace on the same maps where a
network costs more than two points of recall, or cannot be meant: for owners of fewer than five
pictures, for words of handwriting, and where a number of components is given.

`*-encoder` reconstruct what a public encoder gives, and so depend on it (`behind_encoder`).
"""

import math
from collections.abc import Callable

from privedge.errors import ConfigError
from privedge.ran import face
from privedge.ran.feature_kinds import (
    Cooccurrence,
    Encoder,
    Features,
    FineCooccurrence,
    Oriented,
    OrientedCentre,
    OrientedScales,
    Pixels,
    Shape,
    Vector,
)
from privedge.ran.spec import (
    Conv,
    Dense,
    ImageShape,
    Layer,
    LeakyRelu,
    RanSpec,
    Relu,
    Reshape,
    SampleNorm,
    Subspace,
    Tanh,
    Upsample,
)

# The preset of vectors. It is not among PRESETS, whose names alone are enough.
VECTOR = "vector"
_LEAST_VALUES, _MOST_VALUES = 2, 1 << 16
# As from an encoder.
_LONG = 64
# The limit for `auto`: letters of 32 x 32 are told apart better at that size, faces of 40 x 30 at
# 64 x 64 (docs/results/evaluation.md#how-the-presets-were-chosen).
_SMALL_SIDE = 36
# Of an owner with fewer pictures none is held out to choose the best step by, and with one or three
# a network finds fewer faces than a subspace (docs/results/evaluation.md#network-or-subspace).
_FOR_A_NETWORK = 5
# A mean and four components tell embeddings apart as well as any more do, where poses differ little
# (docs/how-to/encoders.md).
_EMBEDDING_COMPONENTS = 4
# The private ReLUs of ran-encoder: as many as a few hundred values need, and half of ran32's.
_HIDDEN = 256
# Cut-out words are at least twice as wide as high.
_WRITING_ASPECT = 2


def preset(  # noqa: PLR0913 - every choice, with a name
    name: str,
    *,
    height: int = 0,
    width: int = 0,
    channels: int = 1,
    size: int | None = None,
    unit_length: bool = False,
    components: int | None = None,
    pictures: int | None = None,
) -> RanSpec:
    """Return the architecture called `name`.

    Args:
        name: one of PRESETS, or "auto", which chooses by `height`, `width`, `channels`,
            `components` and `pictures`: a `ran*-fine` network, or a subspace for few pictures, for
            words of handwriting and with `components`.
        height, width: the size of the pictures, in pixels. Only "auto" uses it: every preset has a
            fixed size, to which pictures are resized.
        channels: 1 for grey, 3 for colour.
        size, unit_length: only for the preset "vector": how many values a vector has, and whether
            it is divided by its length.
        components: the number of components of a subspace preset; None for the preset's number.
        pictures: of the owner who has fewest; None if that is not known. Only "auto" uses it.

    Returns:
        The architecture.

    Raises:
        ConfigError: the name is unknown, or `size` or `components` does not fit.

    Example:
        assert preset("auto", height=32, width=28, channels=1).name == "ran32-fine"
        assert preset("vector", size=512, unit_length=True).image is None
    """
    if name == VECTOR:
        return _vector(size, unit_length, components)
    if size is not None or unit_length:
        raise ConfigError(f"preset {name}: size and unit length are for the preset {VECTOR}")
    if name == "auto":
        linear = components is not None or (pictures is not None and pictures < _FOR_A_NETWORK)
        name = _by_size(height, width, channels, linear=linear)
    if name in ENCODER_PRESETS:
        raise ConfigError(f"preset {name}: needs a public encoder; give its file with --encoder")
    require_known(name)
    spec = _BUILDERS[name](3 if channels == 3 else 1)
    return spec if components is None else _with_components(spec, components)


def require_known(name: object) -> None:
    """Raise ConfigError for what is no preset's name."""
    names = ("auto", *PRESETS, *ENCODER_PRESETS, VECTOR)
    if name not in names and (not isinstance(name, str) or name not in _BUILDERS):
        raise ConfigError(f"preset {name!r:.80} is unknown; choose from {', '.join(names)}")


def behind_encoder(
    name: str, encoder: Encoder, image: ImageShape, *, components: int | None = None
) -> RanSpec:
    """Return the architecture called `name`, for what a public encoder gives.

    name: one of ENCODER_PRESETS; "auto" for the first of them; or any preset whose layers fit, as
        for `with_encoder`.
    image: the input size of the encoder.
    components: the number of components of a subspace; None for the preset's number.

    Raises ConfigError: the name is unknown, or does not fit the encoder.
    """
    size = math.prod(encoder.output)
    if name in ("auto", "subspace-encoder"):
        count = min(_EMBEDDING_COMPONENTS, size - 1) if components is None else components
        return _with_components(
            RanSpec(
                name="subspace-encoder",
                image=image,
                features=encoder,
                layers=(Subspace(components=max(1, count)),),
            ),
            count,
        )
    if name == "ran-encoder":
        if components is not None:
            raise ConfigError(f"preset {name} has no components; leave them out")
        layers = hidden_layer(encoder.output)
        return RanSpec(name=name, image=image, features=encoder, layers=layers)
    channels = image.channels
    spec = preset(name, height=image.height, width=image.width, channels=channels)
    changed = with_encoder(spec, encoder, image, components=components)
    return changed if components is None else _with_components(changed, components)


def with_encoder(
    spec: RanSpec, encoder: Encoder, image: ImageShape, *, components: int | None = None
) -> RanSpec:
    """Return `spec` with a public encoder in place of its feature map.

    A subspace fits any features. In a network of Dense layers and activations the last layer gets
    the encoder's size.

    image: the input size of the encoder. components: of a subspace; None for those of `spec`.

    Raises ConfigError for components that do not fit, and for a network with other layers, which
    are made for maps of one size.
    """
    name = f"{spec.name}-encoder"
    if isinstance(first := spec.layers[0], Subspace):
        changed = RanSpec(name=name, image=image, features=encoder, layers=spec.layers)
        if components is None and first.components >= math.prod(encoder.output) > 1:
            raise ConfigError(
                f"preset {spec.name}: has more components than fit {math.prod(encoder.output)} "
                "numbers of an encoder; use subspace-encoder, or give fewer components"
            )
        return _with_components(changed, first.components if components is None else components)
    flat = [layer for layer in spec.layers if not isinstance(layer, Reshape)]
    if any(isinstance(layer, Conv | Upsample | Subspace) for layer in flat) or not isinstance(
        flat[-1], Dense
    ):
        raise ConfigError(
            f"preset {spec.name}: its layers are for maps of one size; behind an encoder use "
            f"{' or '.join(ENCODER_PRESETS)}"
        )
    layers = (*flat[:-1], *_last(encoder.output))
    return RanSpec(name=name, image=image, features=encoder, layers=layers)


def hidden_layer(shape: Shape) -> tuple[Layer, ...]:
    """Return a network with one hidden layer of ReLUs for features of `shape`, without the batch.

    It is trained adversarially (docs/explanation/references.md#privedge).
    """
    return (Dense(features=_HIDDEN), Relu(), *_last(shape))


def _last(shape: Shape) -> tuple[Layer, ...]:
    dense = Dense(features=math.prod(shape))
    return (dense,) if len(shape) == 1 else (dense, Reshape(shape=shape))


def _by_size(height: int, width: int, channels: int, *, linear: bool) -> str:
    if channels == 1 and width >= _WRITING_ASPECT * height:
        return "subspace-writer-fine"
    side = 32 if max(height, width) <= _SMALL_SIDE else 64
    return f"{'subspace' if linear else 'ran'}{side}-fine"


def _with_components(spec: RanSpec, components: int) -> RanSpec:
    if not isinstance(spec.layers[0], Subspace):
        raise ConfigError(f"preset {spec.name} has no components; leave them out")
    size = math.prod(spec.input_shape)
    if size == 1:
        raise ConfigError(
            f"preset {spec.name}: the encoder gives a single number, and a subspace needs more; "
            "use another encoder"
        )
    if not isinstance(components, int) or not 1 <= components < size:
        raise ConfigError(f"components: must be from 1 to {size - 1} for preset {spec.name}")
    return RanSpec(
        name=spec.name,
        image=spec.image,
        features=spec.features,
        layers=(Subspace(components=components),),
    )


def _vector(size: int | None, unit_length: bool, components: int | None) -> RanSpec:
    if not isinstance(size, int) or not _LEAST_VALUES <= size <= _MOST_VALUES:
        got = "" if size is None else f", not {size}"
        raise ConfigError(
            f"preset {VECTOR}: needs vectors of {_LEAST_VALUES} to {_MOST_VALUES} values{got}"
        )
    spec = RanSpec(
        name=VECTOR,
        image=None,
        features=Vector(size=size, unit_length=unit_length),
        layers=(Subspace(components=_components_for(size)),),
    )
    return spec if components is None else _with_components(spec, components)


def _components_for(size: int) -> int:
    """Return few components: what is left over must still tell owners apart.

    The best on validation parts: 1 or 2 of 4 values, 3 of 13, 2 or 3 of 30
    (docs/how-to/vectors.md#how-good-it-is).
    """
    return 4 if size >= _LONG else max(1, min(3, size // 4))


def _paper(_channels: int) -> RanSpec:
    # docs/explanation/references.md#privedge. Three channels, as published: a grey image is
    # repeated in each.
    layers: list[Layer] = []
    for width in (32, 64, 128, 128, 256):
        layers += [Conv(channels=width, kernel=4, stride=2, padding=(1, 1, 1, 1))]
        layers += [LeakyRelu(slope=0.2), SampleNorm()]
    for width in (256, 256, 256, 128, 64):
        layers += [Upsample(), _same4(width), Relu(), SampleNorm()]
    layers += [_same4(3), Tanh()]
    return RanSpec(
        name="paper",
        image=ImageShape(height=32, width=32, channels=3),
        features=Pixels(),
        layers=tuple(layers),
    )


def _same4(width: int) -> Conv:
    # For an even kernel, Keras pads 'same' unevenly: one before, two after.
    return Conv(channels=width, kernel=4, padding=(1, 2, 1, 2))


def _conv(name: str, side: int, down: tuple[int, ...], up: tuple[int, ...]) -> "_Builder":
    def build(channels: int) -> RanSpec:
        layers: list[Layer] = []
        for width in down:
            layers += [Conv(channels=width, kernel=4, stride=2, padding=(1, 1, 1, 1)), Relu()]
        inner = (down[-1], side >> len(down), side >> len(down))
        layers += [Dense(features=64), Dense(features=inner[0] * inner[1] * inner[2])]
        layers += [Relu(), Reshape(shape=inner)]
        for width in up:
            layers += [Upsample(), Conv(channels=width, kernel=3, padding=(1, 1, 1, 1)), Relu()]
        layers += [Upsample(), Conv(channels=channels, kernel=3, padding=(1, 1, 1, 1))]
        return RanSpec(
            name=name,
            image=ImageShape(height=side, width=side, channels=3 if channels == 3 else 1),
            features=Pixels(),
            layers=tuple(layers),
        )

    return build


def _ran(name: str, side: int, features: Features, maps: Shape, width: int) -> "_Builder":
    def build(channels: int) -> RanSpec:
        return RanSpec(
            name=name,
            image=ImageShape(height=side, width=side, channels=3 if channels == 3 else 1),
            features=features,
            layers=(
                Conv(channels=width, kernel=2, stride=2),
                Relu(),
                Dense(features=64),
                Dense(features=math.prod(maps)),
                Reshape(shape=maps),
            ),
        )

    return build


def _dense(name: str, side: int, features: Features, maps: Shape, hidden: int) -> "_Builder":
    def build(channels: int) -> RanSpec:
        return RanSpec(
            name=name,
            image=ImageShape(height=side, width=side, channels=3 if channels == 3 else 1),
            features=features,
            layers=(Dense(features=hidden), Relu(), *_last(maps)),
        )

    return build


def _subspace(name: str, side: int, features: Features, components: int) -> "_Builder":
    def build(channels: int) -> RanSpec:
        return RanSpec(
            name=name,
            image=ImageShape(height=side, width=side, channels=3 if channels == 3 else 1),
            features=features,
            layers=(Subspace(components=components),),
        )

    return build


def _fine(cell: int) -> OrientedScales:
    return OrientedScales(cell=cell, directions=16, blurs=(0.6, 1.2))


def _centre() -> OrientedCentre:
    return OrientedCentre(cell=4, directions=16, blurs=(0.6, 1.2), left_out=(4, 4, 3, 5))


def _writer(name: str, features: Features) -> "_Builder":
    def build(_channels: int) -> RanSpec:
        # Handwriting is treated as grey, even if the scan has colour.
        return RanSpec(
            name=name,
            image=ImageShape(height=64, width=128, channels=1),
            features=features,
            layers=(Subspace(components=16),),
        )

    return build


_Builder = Callable[[int], RanSpec]

_BUILDERS: dict[str, _Builder] = {
    "paper": _paper,
    "conv32": _conv("conv32", 32, down=(16, 32, 32), up=(32, 16)),
    "conv64": _conv("conv64", 64, down=(16, 32, 32, 32), up=(32, 32, 16)),
    "ran32": _ran("ran32", 32, Oriented(cell=4), (8, 8, 8), width=32),
    # With cell 8 at 64 x 64 the network, and so its 512 private ReLUs, is that of ran32.
    "ran64": _ran("ran64", 64, Oriented(cell=8), (8, 8, 8), width=32),
    # Twice as many private ReLUs as the components of `subspace32-fine`, as which they start.
    "ran32-fine": _dense("ran32-fine", 32, _fine(cell=4), (32, 8, 8), hidden=128),
    "ran64-fine": _dense("ran64-fine", 64, _fine(cell=8), (32, 8, 8), hidden=128),
    "subspace32": _subspace("subspace32", 32, Oriented(cell=4), components=64),
    # Cell 4 tells unknown subjects from owners better than cell 8
    # (docs/results/evaluation.md#how-the-presets-were-chosen).
    "subspace64": _subspace("subspace64", 64, Oriented(cell=4), components=32),
    # 16 directions at two blurs separate letters, and faces, better than 8, with four times the
    # weights (docs/results/evaluation.md#how-the-presets-were-chosen).
    "subspace32-fine": _subspace("subspace32-fine", 32, _fine(cell=4), components=64),
    "subspace64-fine": _subspace("subspace64-fine", 64, _fine(cell=8), components=48),
    # In a photograph of a head the face fills less than half. This preset keeps the middle quarter,
    # a little above the centre where the eyes are. Its cells have half the size, so it costs as
    # much as the whole picture (docs/results/evaluation.md#how-the-presets-were-chosen).
    "subspace64-centre": _subspace("subspace64-centre", 64, _centre(), components=64),
    "subspace-writer": _writer("subspace-writer", Cooccurrence()),
    "subspace-writer-fine": _writer("subspace-writer-fine", FineCooccurrence(directions=16)),
    face.NAME: lambda _channels: face.spec(),
}

PRESETS: tuple[str, ...] = tuple(_BUILDERS)
# These need a public encoder.
ENCODER_PRESETS: tuple[str, ...] = ("subspace-encoder", "ran-encoder")
