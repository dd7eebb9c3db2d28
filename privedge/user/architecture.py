"""Choose the architecture of a RAN: by its pictures, by name, or by the cohort to join.

Sees the pictures' sizes and whether they have colour.
"""

from collections.abc import Sequence

from privedge.config import ClientConfig
from privedge.errors import ConfigError, ImageError
from privedge.identity.roles import Role
from privedge.ran import features, presets, vectors
from privedge.ran.feature_kinds import Vector
from privedge.ran.inputs import Opened, measured, require_agreed
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user.party import connect


def spec_for(
    *sets: Opened,
    preset: str | RanSpec = "auto",
    components: int | None = None,
    channels: int | None = None,
    unit_length: bool | None = None,
    files: PublicFiles = NO_FILES,
) -> RanSpec:
    """Choose one architecture for all pictures or vectors of `sets`.

    preset: a name of PRESETS; or "auto", which chooses by the median size of the pictures and the
        number of the smallest set; or the whole spec of a cohort.
    components: the number of components of a subspace preset; None for the preset's number.
    channels: 1 or 3; None for what the pictures have.
    unit_length: whether vectors are divided by their length; None for what their file says, or else
        no. Not for pictures.
    files: their `encoder` replaces the preset's feature map, and takes RGB from -1 to 1. A file
        with other conventions needs a spec (`privedge encoder wrap`).

    Raises ImageError for pictures that cannot be used, and ConfigError for arguments that exclude
    each other.
    """
    if not isinstance(unit_length, bool | None):
        raise ConfigError(f"unit length: must be True or False, not {unit_length!r:.40}")
    if isinstance(preset, RanSpec):
        if unit_length is not None:
            raise ConfigError("unit length: the spec has it already; leave it out")
        _require_same(preset, components=components, channels=channels)
        features.require_files(preset, files)
        for each in sets:
            each.require_fitting(preset)
        _require_apart(sets, preset)
        return preset
    if not isinstance(components, int | None):
        raise ConfigError(f"components: must be a whole number, not {components!r}")
    if any(each.vector_size is not None for each in sets):
        if channels is not None or files != NO_FILES:
            raise ConfigError("channels, encoder: are for pictures, and these are vectors")
        return _of_vectors(sets, preset, components, unit_length)
    check_for_pictures(preset, channels=channels, unit_length=unit_length)
    size = measured(*sets)
    return spec_named(
        preset,
        height=size.height,
        width=size.width,
        channels=channels or size.channels,
        components=components,
        pictures=min(len(each.names) for each in sets),
        files=files,
    )


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
    sets: Sequence[Opened], preset: str, components: int | None, unit_length: bool | None
) -> RanSpec:
    if preset != "auto" and not takes_vectors(preset):
        raise ImageError(f"preset {preset}: takes pictures, and these are vectors")
    sizes = {each.vector_size for each in sets}
    if len(sizes) > 1:
        raise ImageError(f"vectors: have different sizes ({', '.join(sorted(map(str, sizes)))})")
    for said in {each.unit_length for each in sets} - {None}:
        if unit_length is not None:
            require_agreed(said, unit_length, "--unit-length or unit_length=")
        unit_length = said
    spec = presets.preset(
        presets.VECTOR, size=sizes.pop(), unit_length=bool(unit_length), components=components
    )
    _require_apart(sets, spec)
    return spec


def _require_apart(sets: Sequence[Opened], spec: RanSpec) -> None:
    """Raise ImageError if the vectors of several owners hardly differ, or do not fit the spec."""
    arrays = [each.array for each in sets if each.array is not None]
    if not isinstance(spec.features, Vector) or len(arrays) < 2:
        return
    # Whoever trains finds what is wrong with single vectors, and says whose they are.
    try:
        found = [features.extract(spec, each) for each in arrays]
    except ImageError:
        return
    vectors.require_apart(found, unit_length=spec.features.unit_length)


def takes_vectors(preset: str | RanSpec) -> bool | None:
    """Return whether a preset or spec takes vectors, or pictures; None for "auto".

    Raises ConfigError for an unknown preset.
    """
    if isinstance(preset, RanSpec):
        return preset.image is None
    presets.require_known(preset)
    return None if preset == "auto" else preset == presets.VECTOR


def of_cohort(cohort: str, config: ClientConfig) -> RanSpec:
    """Ask party 0 for the architecture of every model of `cohort`. Raises its refusal."""
    with connect(config, Role.PARTY0) as party:
        return party.architecture(cohort)


def _require_same(spec: RanSpec, *, components: int | None, channels: int | None) -> None:
    """Raise ConfigError unless what was asked for is what `spec` has."""
    there = {"component": spec.components, "channel": spec.image.channels if spec.image else 0}
    asked = {"component": components, "channel": channels}
    if wrong := [name for name, value in asked.items() if value not in (None, there[name])]:
        differ = "; ".join(
            f"{there[name]} {name}{'' if there[name] == 1 else 's'} there, {asked[name]} here"
            for name in wrong
        )
        raise ConfigError(f"the cohort needs another architecture: {differ}; leave them out")
