"""A public encoder in an ONNX file, as a feature map. It is not secret, and equal for everybody.

A spec names the file by its SHA-256, and says how it wants its pictures, so owners and clients
cannot mix up two encoders or their conventions. Needs onnxruntime (`pip install
'privedge[encoder]'`); privedge/ran/onnx_file.py says how sessions are kept.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from privedge.arrays import Features
from privedge.errors import ConfigError, ImageError
from privedge.ran import onnx_file
from privedge.ran.feature_kinds import Encoder, EncoderInput
from privedge.ran.onnx_file import Port, Session
from privedge.ran.spec import ImageShape
from privedge.ran.vectors import LONGEST, SHORTEST

# Pictures with their channels first: (n, C, H, W), 0 to 255.
_Planes = npt.NDArray[np.uint8]

_AXES = 4

# Of a picture's features, relative to the largest of them: what repeated sums may differ by, and
# what other pictures in a batch may change, with which sums are done in another order.
_EQUAL, _NEARLY = 1e-6, 1e-3
_SEED = 0


def load(path: Path, wanted: Encoder) -> Callable[[_Planes], Features]:
    """Load an encoder as a function: pictures, uint8 (n, C, H, W), RGB or grey -> features.

    The features are float32 (n, *wanted.output). Those of a picture do not depend on the others.
    The function raises ConfigError for a file that `require_told_apart` refuses, and ImageError for
    a picture whose features have no direction, if the spec wants unit length.

    Raises ConfigError if the file has another SHA-256 than `wanted` or does not run, and
    MissingExtra without onnxruntime.
    """
    found = onnx_file.digest(path)
    if wanted.aligned is not None and found == wanted.aligned.detector:
        raise ConfigError(
            f"{path}: finds faces and is no encoder; give it with --detector, and the encoder's "
            "file with --encoder"
        )
    if found != wanted.sha256:
        raise ConfigError(
            f"{path}: is another encoder: its SHA-256 is {found}, and the models' is "
            f"{wanted.sha256}"
        )
    session = onnx_file.session(path, found)
    require_picture_input(path, session)
    return partial(_features, path, session, wanted)


def describe(
    path: Path,
    otherwise: ImageShape,
    given: EncoderInput | None = None,
    *,
    unit_length: bool = False,
) -> tuple[Encoder, ImageShape]:
    """Describe the encoder at `path` for a spec, and return the image size that it needs.

    otherwise: the size for a file that fixes none.
    given: how the file wants its pictures; None for RGB from -1 to 1, in the file's own layout.

    Raises as `load` does.
    """
    sha256 = onnx_file.digest(path)
    session = onnx_file.session(path, sha256)
    require_picture_input(path, session)
    wants = given or EncoderInput(layout=layout_of(session.inputs[0]))
    image = image_of(path, session, wants, otherwise)
    blank = np.zeros((1, image.channels, image.height, image.width), np.uint8)
    output = run(path, session, prepared(blank, wants)).shape[1:]
    require_told_apart(path, session, wants, blank.shape[1:])
    encoder = Encoder(sha256=sha256, output=output, input=wants, unit_length=unit_length)
    return encoder, image


def prepared(planes: _Planes, wants: EncoderInput) -> npt.NDArray[np.float32]:
    """Return pictures as an encoder wants them, float32 in its layout.

    planes: uint8 (n, C, H, W), RGB or grey. Each value is pixel * scale + offset, in float64 and
    rounded once.
    """
    if wants.order == "bgr":
        planes = planes[:, ::-1]
    scale, offset = (
        np.asarray(values, np.float64)[:, None, None] for values in (wants.scale, wants.offset)
    )
    values = (planes * scale + offset).astype(np.float32)
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1) if wants.layout == "nhwc" else values)


def layout_of(port: Port) -> Literal["nchw", "nhwc"]:
    """Return the layout that the shape of an input shows, "nchw" or "nhwc"."""
    channels = (1, 3)
    last = len(port.shape) == _AXES and port.shape[3] in channels
    return "nhwc" if last and port.shape[1] not in channels else "nchw"


def image_of(
    path: Path, session: Session, wants: EncoderInput, otherwise: ImageShape
) -> ImageShape:
    """Return the size of pictures that the file fixes, or else `otherwise`. Raises ConfigError."""
    declared = session.inputs[0].shape
    first, second, third = declared[1:]
    where = (second, third, first) if wants.layout == "nchw" else (first, second, third)
    fallback = (otherwise.height, otherwise.width, otherwise.channels)
    sides = [
        extent if isinstance(extent, int) and extent > 0 else other
        for extent, other in zip(where, fallback, strict=True)
    ]
    try:
        return ImageShape.model_validate(
            dict(zip(("height", "width", "channels"), sides, strict=True))
        )
    except ValueError:
        raise ConfigError(
            f"{path}: takes {_shown(declared)}, which is no picture in the layout {wants.layout} "
            "(sides of 8 to 1024 pixels, 1 or 3 channels)"
        ) from None


def require_picture_input(path: Path, session: Session) -> None:
    """Raise ConfigError unless the one input is a batch of pictures in float32."""
    if len(session.inputs) != 1:
        names = ", ".join(port.name for port in session.inputs) or "none"
        raise ConfigError(f"{path}: has the inputs {names}; an encoder takes pictures alone")
    port = session.inputs[0]
    if port.kind != "float" or len(port.shape) != _AXES:
        raise ConfigError(
            f"{path}: takes {_shown(port.shape)} of type {port.kind}; an encoder takes pictures, "
            "float32 of four axes"
        )


@lru_cache(maxsize=4)
def require_told_apart(
    path: Path, session: Session, wants: EncoderInput, shape: tuple[int, int, int]
) -> None:
    """Raise ConfigError if pictures cannot be told apart by what the file makes of them.

    Its features must be the same in every run, differ between pictures, and not depend on the other
    pictures of a batch that it fixes. A file that passes is not tried again in this process.

    shape: channels, height and width of a picture.
    """
    drawn = np.random.default_rng(_SEED).integers(0, 256, (3, *shape), np.uint8)
    drawn[2] = 0
    pictures, batch = prepared(drawn, wants), _at_once(session)
    first, *others = found = run(path, session, pictures)
    size = float(np.abs(found).max())
    if _apart(first, run(path, session, pictures[:batch])[0]) > _EQUAL * size:
        raise ConfigError(
            f"{path}: gives other features for the same picture in every run; save the network for "
            "inference, without dropout or noise"
        )
    if batch > 1 and _apart(first, run(path, session, pictures[:1])[0]) > _NEARLY * size:
        raise ConfigError(
            f"{path}: a picture's features depend on the others in its batch; save the network for "
            "inference, best with a batch of any size"
        )
    if all(_apart(first, other) <= _EQUAL * size for other in others):
        raise ConfigError(
            f"{path}: gives the same features for different pictures, so nobody could be told from "
            "anybody; use another file"
        )


def _apart(left: Features, right: Features) -> float:
    return float(np.abs(left - right).max())


def _features(path: Path, session: Session, wanted: Encoder, planes: _Planes) -> Features:
    if len(planes):
        require_told_apart(path, session, wanted.input, planes.shape[1:])
    features = run(path, session, prepared(planes, wanted.input))
    if features.shape != (len(planes), *wanted.output):
        raise ConfigError(
            f"{path}: gives {_shown(features.shape[1:])}, and the models' encoder "
            f"{_shown(wanted.output)}"
        )
    axes = tuple(range(1, features.ndim))
    lengths = np.sqrt(np.square(features, dtype=np.float64).sum(axis=axes, keepdims=True))
    if wanted.unit_length:
        return _divided(features, lengths)
    if lengths.max() > LONGEST:
        raise ConfigError(
            f"{path}: gives features of length {lengths.max():.4g}, and models can compare those "
            f"of length {LONGEST} at most; use a spec with unit length (`privedge encoder wrap`)"
        )
    if (lengths < SHORTEST).any():
        place = int(np.flatnonzero(lengths.reshape(-1) < SHORTEST)[0])
        raise ImageError(
            f"picture {place}: the encoder gives features of a length below 1/64 for it, too short "
            "for numbers in steps of 2^-16; use another picture, or a spec with unit length "
            "(`privedge encoder wrap`)"
        )
    return features


def _divided(features: Features, lengths: npt.NDArray[np.float64]) -> Features:
    if (lengths == 0).any():
        place = int(np.flatnonzero(lengths.reshape(-1) == 0)[0])
        raise ImageError(
            f"picture {place}: the encoder gives only zeros for it, which have no direction; "
            "use another picture"
        )
    scaled: Features = (features / lengths).astype(np.float32)
    return scaled


def run(path: Path, session: Session, values: npt.NDArray[np.float32]) -> Features:
    """Return the first output, float32 (n, ...), for pictures as from `prepared`.

    Raises ConfigError.
    """
    step = _at_once(session)
    parts = [_once(path, session, values[i : i + step], step) for i in range(0, len(values), step)]
    features = np.concatenate(parts)
    if features.dtype != np.float32 or not np.isfinite(features).all():
        raise ConfigError(f"{path}: its first output must be finite float32")
    return features


def _at_once(session: Session) -> int:
    """One picture at a time, so its last bits do not depend on the others.

    A file that fixes another number is given that many, the last ones blank.
    """
    batch = session.inputs[0].shape[0]
    return batch if isinstance(batch, int) and batch > 0 else 1


def _once(
    path: Path, session: Session, values: npt.NDArray[np.float32], step: int
) -> npt.NDArray[np.float32]:
    missing = step - len(values)
    if missing:
        values = np.concatenate([values, np.zeros((missing, *values.shape[1:]), np.float32)])
    try:
        output = session.run(values)[0]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(output, np.ndarray) or output.ndim < 2 or len(output) != step:
        got = _shown(getattr(output, "shape", ()))
        raise ConfigError(f"{path}: must give one row for each picture, but gives {got}")
    return output[: step - missing]


def _shown(shape: tuple[object, ...]) -> str:
    return f"({', '.join(str(extent or '?') for extent in shape)})"
