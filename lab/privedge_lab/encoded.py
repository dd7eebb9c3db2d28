"""Experiments behind a public encoder: which specs they take, and what names their results."""

from collections.abc import Sequence

from privedge.errors import ConfigError
from privedge.ran import features, onnx_file
from privedge.ran.alignment import alignment_of
from privedge.ran.feature_kinds import Encoder
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import RanSpec
from privedge_lab.results.rows.values import Raw


def spec_for(
    preset: str, spec: RanSpec | None, shape: Sequence[int], files: PublicFiles
) -> RanSpec:
    """Return `spec`, or else the preset for images of `shape` (n, C, H, W), behind the encoder of
    `files` if there is one.

    Raises ConfigError for an unknown name, and for a spec that needs another file or faces.
    """
    if spec is None:
        _, channels, height, width = shape
        return spec_named(preset, height=height, width=width, channels=channels, files=files)
    require_no_faces(spec, "the images are taken whole")
    require_wanted(spec, files)
    return spec


def require_wanted(spec: RanSpec, files: PublicFiles) -> None:
    """Raise ConfigError unless `files` are what a spec names: all that it needs, and no other."""
    features.require_files(spec, files)
    if files.encoder is not None and not isinstance(spec.features, Encoder):
        raise ConfigError(f"encoder: the spec {spec.name} has none; leave it out")
    if files.detector is not None and alignment_of(spec) is None:
        raise ConfigError(f"detector: the spec {spec.name} cuts out no faces; leave it out")


def require_no_faces(spec: RanSpec, why: str) -> None:
    """Raise ConfigError for a spec that cuts out faces, with the reason why there are none."""
    if alignment_of(spec) is not None:
        raise ConfigError(f"spec {spec.name}: cuts out faces, and {why}; give one that does not")


def settings(spec: RanSpec | None, files: PublicFiles) -> Raw:
    """Return what names results beside a preset: nothing without a spec and an encoder."""
    named: Raw = {} if spec is None else {"spec_sha256": spec.digest()}
    if files.encoder is not None:
        named["encoder_sha256"] = onnx_file.digest(files.encoder)
    return named
