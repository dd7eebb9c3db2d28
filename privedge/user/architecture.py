"""Choose the architecture of a RAN: by its pictures, by name, or by the cohort to join.

Sees the pictures' sizes and whether they have colour.
"""

from privedge.config import ClientConfig
from privedge.errors import ConfigError
from privedge.identity.roles import Role
from privedge.ran import features
from privedge.ran.inputs import Opened, measured
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec
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
        _require_same(preset, components=components, channels=channels)
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


def _require_same(spec: RanSpec, *, components: int | None, channels: int | None) -> None:
    """Raise ConfigError unless what was asked for is what `spec` has."""
    there = {"components": spec.components, "channels": spec.image.channels if spec.image else 0}
    asked = {"components": components, "channels": channels}
    if wrong := [name for name, value in asked.items() if value not in (None, there[name])]:
        differ = ", ".join(f"{there[name]} {name} there, {asked[name]} here" for name in wrong)
        raise ConfigError(f"the cohort needs another architecture: {differ}; leave them out")
