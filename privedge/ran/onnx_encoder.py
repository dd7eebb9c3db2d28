"""A public encoder in an ONNX file, as a feature map. It is not secret, and equal for everybody.

A spec names the file by its SHA-256, so owners and clients cannot mix up two encoders. Needs
onnxruntime (`pip install 'privedge[encoder]'`).
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge import extras, regular_file
from privedge.arrays import Features
from privedge.errors import ConfigError
from privedge.ran.feature_kinds import Encoder, Shape
from privedge.ran.spec import ImageShape

# Scaled images: (n, C, H, W), from -1 to 1.
_Scaled = npt.NDArray[np.float32]

# The largest file that is read. No encoder that runs on a phone is larger.
_MAX_BYTES = 1 << 30


def load(path: Path, wanted: Encoder) -> Callable[[_Scaled], Features]:
    """Load an encoder as a function: images, float32 (n, C, H, W) in [-1, 1] -> features.

    The features are float32 (n, *wanted.output). Raises ConfigError if the file has another SHA-256
    than `wanted` or does not run, and MissingExtra without onnxruntime.
    """
    raw = _read(path)
    if hashlib.sha256(raw).hexdigest() != wanted.sha256:
        raise ConfigError(f"{path}: is not the encoder with SHA-256 {wanted.sha256}")
    session = _session(path, raw)

    def encode(images: _Scaled) -> Features:
        features = _run(path, session, images)
        if features.shape != (len(images), *wanted.output):
            raise ConfigError(f"{path}: gives shape {features.shape[1:]}, not {wanted.output}")
        return features

    return encode


def describe(path: Path, otherwise: ImageShape) -> tuple[Encoder, ImageShape]:
    """Describe the encoder at `path` for a spec, and return the image size that it needs.

    The size is the one that the file fixes, or else `otherwise`. Raises as `load` does.
    """
    raw = _read(path)
    session = _session(path, raw)
    image = _image_shape(path, session.get_inputs()[0].shape, otherwise)
    blank = np.zeros((1, image.channels, image.height, image.width), np.float32)
    output: Shape = _run(path, session, blank).shape[1:]
    return Encoder(sha256=hashlib.sha256(raw).hexdigest(), output=output), image


def _image_shape(path: Path, declared: list[Any], otherwise: ImageShape) -> ImageShape:
    fallback = (otherwise.channels, otherwise.height, otherwise.width)
    fixed = [
        extent if isinstance(extent, int) else other
        for extent, other in zip(declared[1:], fallback, strict=False)
    ]
    try:
        channels, height, width = fixed
        return ImageShape.model_validate({"height": height, "width": width, "channels": channels})
    except ValueError:
        raise ConfigError(
            f"{path}: must accept images (n, channels, height, width), but accepts {declared}"
        ) from None


def _read(path: Path) -> bytes:
    try:
        if regular_file.require(path).st_size > _MAX_BYTES:
            raise ConfigError(f"{path}: larger than {_MAX_BYTES} bytes")
        return regular_file.read(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None


def _session(path: Path, raw: bytes) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise extras.missing(error, "an encoder needs", extras.FOR_COMMANDS) from None
    options = onnxruntime.SessionOptions()
    # One thread sums in a fixed order, so owner and client compute the same numbers.
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds share no root
        raise ConfigError(f"{path}: is not a usable ONNX file") from error


def _run(path: Path, session: Any, images: _Scaled) -> Features:
    source = session.get_inputs()[0]
    # An encoder exported for single images has a fixed batch size of one.
    step = len(images) if not isinstance(source.shape[0], int) else source.shape[0]
    try:
        parts = [
            session.run(None, {source.name: images[i : i + step]})[0]
            for i in range(0, len(images), step)
        ]
    except Exception as error:
        raise ConfigError(f"{path}: does not accept images of shape {images.shape[1:]}") from error
    features = np.concatenate(parts)
    if features.dtype != np.float32 or not np.isfinite(features).all():
        raise ConfigError(f"{path}: its first output must be finite float32")
    return features
