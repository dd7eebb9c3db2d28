"""Experiments behind a public encoder: which specs they take, and what names their results."""

from collections.abc import Sequence
from pathlib import Path

from privedge.errors import ConfigError
from privedge.ran import features, onnx_file, spec_file
from privedge.ran.feature_kinds import Encoder
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import RanSpec
from privedge_lab.results.rows.values import Raw


def given(spec: Path | None, encoder: Path | None) -> tuple[RanSpec | None, PublicFiles]:
    """Read what `--spec` and `--encoder` name. Raises ConfigError."""
    return None if spec is None else spec_file.read(spec), PublicFiles.at(encoder=encoder)


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
    features.require_files(spec, files)
    return spec


def require_no_faces(spec: RanSpec, why: str) -> None:
    """Raise ConfigError for a spec that cuts out faces, with the reason why there are none."""
    if isinstance(spec.features, Encoder) and spec.features.aligned is not None:
        raise ConfigError(f"spec {spec.name}: cuts out faces, and {why}; give one that does not")


def settings(spec: RanSpec | None, files: PublicFiles) -> Raw:
    """Return what names results beside a preset: nothing without a spec and an encoder."""
    named: Raw = {} if spec is None else {"spec_sha256": spec.digest()}
    if files.encoder is not None:
        named["encoder_sha256"] = onnx_file.digest(files.encoder)
    return named
