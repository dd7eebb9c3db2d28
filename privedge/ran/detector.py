"""Find faces with YuNet, a small public network in an ONNX file.

docs/explanation/references.md#yunet has the paper.

Sees plaintext pictures: for the owner's and the client's device only. Both must find the same five
points, so the network runs on one thread and every size and threshold is fixed here.

A picture is looked at with its longer side at 320 pixels: that fits faces from a tenth of the
picture to nearly all of it. If no face is found there, or only a small one, it is looked at again
with 640.

The file takes float32 (1, 3, height, width), blue first, from 0 to 255, sides divisible by 32. For
each stride of 8, 16 and 32 pixels it gives four outputs of one row for each cell: `cls_S` and
`obj_S` (the score is the root of their product), `bbox_S` (centre and size) and `kps_S` (five
points).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from privedge.errors import ConfigError
from privedge.ran import onnx_file
from privedge.ran.onnx_file import Session

_Reals = npt.NDArray[np.float64]

POINTS = 5
_STRIDES = (8, 16, 32)
_KINDS = ("cls", "obj", "bbox", "kps")
_OUTPUTS = frozenset(f"{kind}_{stride}" for kind in _KINDS for stride in _STRIDES)
# The longer side of a picture when it is looked at, in pixels; and the face that needs no second
# look. The network knows faces from about 10 to 300 pixels.
_FIRST_LOOK, _SECOND_LOOK = 320, 640
_LARGE = 40
# At 0.7 every one of 2,937 public portraits from 40 x 30 pixels had one face and no more.
_LEAST_SCORE = 0.7
# Two boxes that share more of their union are one face.
_SAME_FACE = 0.3


@dataclass(frozen=True)
class Face:
    """A face in a picture. Pixels are counted from the centre of the first one, as OpenCV does.

    box: left, top, width, height, in pixels. It may reach beyond the picture.
    points: float64 (5, 2), (x, y) of right eye, left eye, nose, right and left corner of the mouth,
        as the person has them.
    score: how sure the detector is, 0 to 1.
    """

    box: tuple[float, float, float, float]
    points: _Reals
    score: float

    @property
    def size(self) -> float:
        """The shorter side of the box, in pixels."""
        return min(self.box[2:])


def load(path: Path, sha256: str) -> "Detector":
    """Load the file at `path`; the session of a file is kept (ran/onnx_file.py).

    Raises ConfigError if the file has another SHA-256 than `sha256` or is no such detector, and
    MissingExtra without onnxruntime.
    """
    found = onnx_file.digest(path)
    if found != sha256:
        raise ConfigError(
            f"{path}: is another detector: its SHA-256 is {found}, and the models' is {sha256}"
        )
    return Detector(path, onnx_file.session(path, found))


def is_one(session: Session) -> bool:
    """Whether a network has a YuNet's outputs."""
    return {port.name for port in session.outputs} == _OUTPUTS


class Detector:
    """A loaded YuNet file. Raises ConfigError if it is no such detector."""

    def __init__(self, path: Path, session: Session) -> None:
        self._path, self._session = path, session
        self._names = [port.name for port in session.outputs]
        if len(session.inputs) != 1 or not _OUTPUTS.issubset(self._names):
            raise ConfigError(f"{path}: is no YuNet detector; docs/how-to/faces.md makes one")

    def faces(self, picture: Image.Image) -> list[Face]:
        """Return all faces of an upright picture, the largest first. Raises ConfigError."""
        found = self._look(picture, _FIRST_LOOK)
        scale = _FIRST_LOOK / max(picture.size)
        if not found or found[0].size * scale < _LARGE:
            found = self._look(picture, _SECOND_LOOK) or found
        return found

    def _look(self, picture: Image.Image, side: int) -> list[Face]:
        scale = side / max(picture.size)
        width, height = (max(1, round(extent * scale)) for extent in picture.size)
        small = picture.convert("RGB").resize(
            (width, height), Image.Resampling.BILINEAR, reducing_gap=3.0
        )
        by = np.array(picture.size) / (width, height)
        found = [_scaled(face, by) for face in self.at_its_size(np.asarray(small))]
        return sorted(found, key=lambda face: -face.size)

    def at_its_size(self, pixels: npt.NDArray[np.uint8]) -> list[Face]:
        """Return the faces of uint8 (H, W, 3), red first, as it is; the surest first."""
        height, width = pixels.shape[:2]
        step = _STRIDES[-1]
        rows, columns = -(-height // step) * step, -(-width // step) * step
        given = np.zeros((1, 3, rows, columns), np.float32)
        given[0, :, :height, :width] = pixels[:, :, ::-1].transpose(2, 0, 1)
        try:
            values = self._session.run(given)
        except ConfigError as error:
            raise ConfigError(
                f"{self._path}: {error}; a detector takes pictures of any size "
                "(docs/how-to/faces.md makes one)"
            ) from error
        return _without_doubles(_decoded(dict(zip(self._names, values, strict=True)), columns))


def _decoded(outputs: dict[str, Any], columns: int) -> list[Face]:
    """Read the faces out of the network's outputs, which are of pictures `columns` pixels wide."""
    found = []
    for stride in _STRIDES:
        sure, face, box, points = (
            outputs[f"{kind}_{stride}"][0].astype(np.float64) for kind in _KINDS
        )
        scores = np.sqrt(sure.clip(0, 1) * face.clip(0, 1))[:, 0]
        for cell in np.flatnonzero(scores >= _LEAST_SCORE):
            at = np.array([cell % (columns // stride), cell // (columns // stride)])
            width, height = np.exp(box[cell, 2:]) * stride
            x, y = (at + box[cell, :2]) * stride
            marks = (at + points[cell].reshape(POINTS, 2)) * stride
            corner = (x - width / 2, y - height / 2, width, height)
            found.append(Face(corner, marks, float(scores[cell])))
    return sorted(found, key=lambda each: -each.score)


def _without_doubles(faces: list[Face]) -> list[Face]:
    kept: list[Face] = []
    for face in faces:
        if all(_shared(face.box, other.box) <= _SAME_FACE for other in kept):
            kept.append(face)
    return kept


def _shared(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the share of the union of two boxes that both cover; in whole pixels, as in OpenCV."""
    one, other = tuple(map(int, one)), tuple(map(int, other))
    sides = [
        min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis])
        for axis in (0, 1)
    ]
    both = max(sides[0], 0) * max(sides[1], 0)
    return both / max(one[2] * one[3] + other[2] * other[3] - both, 1)


def _scaled(face: Face, by: _Reals) -> Face:
    """Return the face in a picture whose sides are `by` (x, y) times as long."""
    left, top, width, height = face.box
    # The corner of a pixel, not its centre, stays in place when a picture is resized.
    corner = (np.array([left, top]) + 0.5) * by - 0.5
    sides = np.array([width, height]) * by
    points = (face.points + 0.5) * by - 0.5
    return Face((*corner.tolist(), *sides.tolist()), points, face.score)
