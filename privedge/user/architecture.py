"""Choose the architecture of a RAN: by its pictures, by name, or by the cohort to join.

Sees the pictures' sizes and whether they have colour.
"""

from collections.abc import Sequence
from pathlib import Path

from privedge.config import ClientConfig
from privedge.errors import ConfigError, ImageError
from privedge.identity.roles import Role
from privedge.ran import onnx_encoder, presets
from privedge.ran.feature_kinds import Vector
from privedge.ran.inputs import Opened, measured
from privedge.ran.spec import ImageShape, RanSpec
from privedge.user.party import connect


def spec_for(
    *sets: Opened,
    preset: str | RanSpec = "auto",
    components: int | None = None,
    channels: int | None = None,
    unit_length: bool | None = None,
    encoder: Path | None = None,
) -> RanSpec:
    """Choose one architecture for all pictures or vectors of `sets`.

    preset: a name of PRESETS; or "auto", which chooses by the median size of the pictures; or the
        whole spec of a cohort.
    components: the number of components of a subspace preset; None for the preset's number.
    channels: 1 or 3; None for what the pictures have.
    unit_length: whether vectors are divided by their length; None for no. Not for pictures.
    encoder: the ONNX file that replaces the preset's feature map.

    Raises ImageError for pictures that cannot be used, and ConfigError for arguments that exclude
    each other.
    """
    if isinstance(preset, RanSpec):
        if (components, channels, unit_length) != (None, None, None):
            raise ConfigError(
                "components, channels, unit length: the spec has them already; leave them out"
            )
        return preset
    if not isinstance(components, int | None):
        raise ConfigError(f"components: must be a whole number, not {components!r}")
    if any(each.vector_size is not None for each in sets):
        if (channels, encoder) != (None, None):
            raise ConfigError("channels, encoder: are for pictures, and these are vectors")
        return _of_vectors(sets, preset, components, unit_length=bool(unit_length))
    check_for_pictures(preset, channels=channels, unit_length=unit_length)
    size = measured(*sets)
    spec = presets.preset(
        preset,
        height=size.height,
        width=size.width,
        channels=channels or size.channels,
        components=components,
    )
    if encoder is None:
        return spec
    return presets.with_encoder(spec, *onnx_encoder.describe(encoder, spec.image_shape))


def check_for_pictures(
    preset: str, *, channels: int | None = None, unit_length: bool | None = None
) -> None:
    """Raise ConfigError or ImageError if these arguments are not for pictures."""
    if channels not in (None, 1, 3):
        raise ConfigError(f"channels: must be 1 or 3, not {channels}")
    if unit_length is not None:
        raise ConfigError("unit length: is for vectors, and these are pictures")
    if takes_vectors(preset):
        raise ImageError(f"preset {preset}: takes vectors, and these are pictures")


def _of_vectors(
    sets: Sequence[Opened], preset: str, components: int | None, *, unit_length: bool
) -> RanSpec:
    if preset != "auto" and not takes_vectors(preset):
        raise ImageError(f"preset {preset}: takes pictures, and these are vectors")
    sizes = {each.vector_size for each in sets}
    if len(sizes) > 1:
        raise ImageError(f"vectors: have different sizes ({', '.join(sorted(map(str, sizes)))})")
    return presets.preset(
        presets.VECTOR, size=sizes.pop(), unit_length=unit_length, components=components
    )


def takes_vectors(preset: str | RanSpec) -> bool | None:
    """Return whether a preset or spec takes vectors, or pictures; None for "auto"."""
    if isinstance(preset, RanSpec):
        return preset.image is None
    return None if preset == "auto" else preset == presets.VECTOR


def of_cohort(cohort: str, config: ClientConfig) -> RanSpec:
    """Ask party 0 for the architecture of every model of `cohort`. Raises its refusal."""
    with connect(config, Role.PARTY0) as party:
        return party.architecture(cohort)


def differences(there: RanSpec, here: RanSpec) -> str:
    """Describe how a model's spec, `here`, differs from its cohort's: "1 channel there, 3 here"."""
    told = [
        f"{theirs} there, {mine} here"
        for theirs, mine in (
            (f"preset {there.name}", here.name),
            *_inputs(there, here),
            (f"{there.components} components", here.components),
            (f"feature map {there.features.kind}", here.features.kind),
        )
        if str(mine) not in theirs.split()
    ]
    if not told and there.features != here.features:
        told = [f"the feature map {there.features.kind} has other settings"]
    return "; ".join(told) or "the layers differ"


def _inputs(there: RanSpec, here: RanSpec) -> list[tuple[str, object]]:
    """List what differs in the pictures or vectors that the specs take: theirs, and mine."""
    if isinstance(there.features, Vector) and isinstance(here.features, Vector):
        theirs, mine = (
            "yes" if each.unit_length else "no" for each in (there.features, here.features)
        )
        return [
            (f"vectors of {there.features.size} values", here.features.size),
            (f"unit length: {theirs}", mine),
        ]
    if there.image is None or here.image is None:
        theirs, mine = ("pictures" if each.image else "vectors" for each in (there, here))
        return [(theirs, mine)]
    plural = "" if there.image.channels == 1 else "s"
    return [
        (f"{there.image.channels} channel{plural}", here.image.channels),
        (f"pictures of {_size(there.image)}", _size(here.image)),
    ]


def _size(image: ImageShape) -> str:
    return f"{image.height}x{image.width}"
