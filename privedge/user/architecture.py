"""The architecture a RAN is trained in: chosen by the pictures, by name, or by the cohort to join.

Sees the pictures' sizes and whether they have colour.
"""

from pathlib import Path

from privedge.config import ClientConfig
from privedge.errors import ConfigError
from privedge.identity.roles import Role
from privedge.ran import onnx_encoder, presets
from privedge.ran.inputs import Opened, measured
from privedge.ran.spec import RanSpec
from privedge.user.party import connect


def spec_for(
    *sets: Opened,
    preset: str | RanSpec = "auto",
    components: int | None = None,
    channels: int | None = None,
    encoder: Path | None = None,
) -> RanSpec:
    """The architecture for all pictures of `sets` together.

    preset: a name of PRESETS; "auto", by the median size of the pictures; or a whole spec, as a
        cohort has it.
    components: of a subspace preset, in place of its own number.
    channels: 1 or 3, in place of what the pictures have.
    encoder: the ONNX file that takes the place of the preset's feature map.

    Raises ImageError for pictures that cannot be used, ConfigError for what does not go together.
    """
    if isinstance(preset, RanSpec):
        if components is not None or channels is not None:
            raise ConfigError("components, channels: the spec has them already; leave them out")
        return preset
    if channels not in (None, 1, 3):
        raise ConfigError(f"channels: must be 1 or 3, not {channels}")
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
    return presets.with_encoder(spec, *onnx_encoder.describe(encoder, spec.image))


def of_cohort(cohort: str, config: ClientConfig) -> RanSpec:
    """The architecture of every model of `cohort`, as party 0 says. Raises what it refuses."""
    with connect(config, Role.PARTY0) as party:
        return party.architecture(cohort)


def differences(there: RanSpec, here: RanSpec) -> str:
    """In what `here`, a model's, differs from `there`, the cohort's: "1 channel there, 3 here"."""
    plural = "" if there.image.channels == 1 else "s"
    told = [
        f"{theirs} there, {mine} here"
        for theirs, mine in (
            (f"preset {there.name}", here.name),
            (f"{there.image.channels} channel{plural}", here.image.channels),
            (f"pictures of {_size(there)}", _size(here)),
            (f"{there.components} components", here.components),
            (f"feature map {there.features.kind}", here.features.kind),
        )
        if str(mine) not in theirs.split()
    ]
    if not told and there.features != here.features:
        told = [f"the feature map {there.features.kind} has other settings"]
    return "; ".join(told) or "the layers differ"


def _size(spec: RanSpec) -> str:
    return f"{spec.image.height}x{spec.image.width}"
