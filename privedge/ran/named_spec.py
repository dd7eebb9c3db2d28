"""Choose an architecture by name, with the public files that take the place of its feature map.

For owners and experiments, who have these files. An operator needs none: presets.behind_encoder.
"""

import logging
from pathlib import Path

from privedge.errors import ConfigError
from privedge.ran import detector, face, onnx_encoder, onnx_file
from privedge.ran.encoder_facts import scaled_inside
from privedge.ran.presets import ENCODER_PRESETS, behind_encoder, preset
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import RanSpec

log = logging.getLogger(__name__)


def spec_named(  # noqa: PLR0913 - as presets.preset
    name: str,
    *,
    height: int,
    width: int,
    channels: int,
    components: int | None = None,
    pictures: int | None = None,
    files: PublicFiles = NO_FILES,
) -> RanSpec:
    """Return the architecture called `name`.

    name, height, width, channels, components, pictures: as for `presets.preset`, and
        ENCODER_PRESETS too.
    files: their `encoder` takes the place of the preset's feature map. It is given RGB from -1 to
        1; a file with other conventions needs a spec of its own (`privedge encoder wrap`). With
        their `detector` faces are cut out before. The conventions of the recipe's two files are
        known.

    Raises ConfigError if the name is unknown or does not fit, or the file cannot be used, and
    MissingExtra without onnxruntime.
    """
    if name == face.NAME and None in (files.encoder, files.detector):
        raise ConfigError(f"preset {name}: needs both of its ONNX files (--encoder, --detector)")
    if files.encoder is None and files.detector is not None:
        raise ConfigError("detector: cuts faces out for an encoder; give an encoder, too")
    if files.encoder is None:
        return preset(
            name,
            height=height,
            width=width,
            channels=channels,
            components=components,
            pictures=pictures,
        )
    _require_encoder(files.encoder)
    if _are_the_recipes(files):
        if name == face.NAME:
            return preset(name, height=1, width=1, channels=3, components=components)
        return behind_encoder(name, face.ENCODER, face.spec().image_shape, components=components)
    usual = "auto" if name in ENCODER_PRESETS else name
    otherwise = preset(usual, height=height, width=width, channels=channels).image_shape
    encoder, image = onnx_encoder.describe(files.encoder, otherwise)
    if done := scaled_inside(onnx_file.parsed(files.encoder).graph):
        log.warning(
            "%s: scales pixels itself (%s), but is given them from -1 to 1; see `privedge encoder "
            "inspect`, and train with a spec",
            files.encoder,
            ", ".join(done),
        )
    if files.detector is not None:
        aligned = face.alignment(onnx_file.digest(files.detector), image)
        encoder = encoder.model_copy(update={"aligned": aligned})
    return behind_encoder(name, encoder, image, components=components)


def _require_encoder(file: Path) -> None:
    """Raise ConfigError if `file` is a detector, as where the two files were swapped."""
    if detector.is_one(onnx_file.session(file, onnx_file.digest(file))):
        raise ConfigError(
            f"{file}: finds faces and is no encoder; give it with --detector, and the encoder's "
            "file with --encoder"
        )


def _are_the_recipes(files: PublicFiles) -> bool:
    """Return whether these are the files on which the preset `face` was chosen."""
    if files.encoder is None or files.detector is None:
        return False
    there = (onnx_file.digest(files.encoder), onnx_file.digest(files.detector))
    return there == (face.ENCODER.sha256, face.DETECTOR_SHA256)
