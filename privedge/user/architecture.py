"""Choose the architecture of a RAN: by its pictures, by name, or by the cohort to join.

Sees the pictures' sizes and whether they have colour.
"""

from privedge.config import ClientConfig
from privedge.errors import ConfigError
from privedge.identity.roles import Role
from privedge.ran import features
from privedge.ran.feature_kinds import Vector
from privedge.ran.inputs import Opened, measured
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import ImageShape, RanSpec
from privedge.user.party import connect


def spec_for(
    *sets: Opened,
    preset: str | RanSpec = "auto",
    components: int | None = None,
    channels: int | None = None,
    files: PublicFiles = NO_FILES,
) -> RanSpec:
    """Choose one architecture for all pictures of `sets`.

    preset: a name of PRESETS; or "auto", which chooses by the median size of the pictures; or the
        whole spec of a cohort.
    components: the number of components of a subspace preset; None for the preset's number.
    channels: 1 or 3; None for what the pictures have.
    files: their `encoder` replaces the preset's feature map, and takes RGB from -1 to 1. A file
        with other conventions needs a spec (`privedge encoder wrap`).

    Raises ImageError for pictures that cannot be used, and ConfigError for arguments that exclude
    each other.
    """
    if isinstance(preset, RanSpec):
        if components is not None or channels is not None:
            raise ConfigError("components, channels: the spec has them already; leave them out")
        features.require_files(preset, files)
        return preset
    if channels not in (None, 1, 3):
        raise ConfigError(f"channels: must be 1 or 3, not {channels}")
    if not isinstance(components, int | None):
        raise ConfigError(f"components: must be a whole number, not {components!r}")
    size = measured(*sets)
    return spec_named(
        preset,
        height=size.height,
        width=size.width,
        channels=channels or size.channels,
        components=components,
        files=files,
    )


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
