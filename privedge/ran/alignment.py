"""Cut the face out of a picture so that its eyes, nose and mouth are always at the same place.

Sees plaintext pictures: for the owner's and the client's device only. An encoder of faces was
trained on such cuttings, and tells people apart far worse in a picture that is merely stretched. A
detector (ran/detector.py) finds five points; a turn, a shift and one scale bring them as near as
possible to the template of the spec (least squares; docs/explanation/references.md#umeyama).

Pixels are interpolated linearly, and black outside the picture, as OpenCV's FaceRecognizerSF does.
A large face is first averaged over squares of pixels, so that none is passed over.
"""

import hashlib
import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from privedge.arrays import Pixels
from privedge.errors import ConfigError, FaceTooSmall, NoFaceFound, SeveralFaces
from privedge.ran import detector, onnx_file
from privedge.ran.detector import Detector, Face
from privedge.ran.feature_kinds import Alignment, Encoder
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import ImageShape, RanSpec

_Reals = npt.NDArray[np.float64]

# At most this many boxes are named in an error.
_NAMED = 6
# Pixels around a cutting that interpolation needs.
_AROUND = 2
# No face is brought to its place by a larger or smaller factor than this and its inverse.
_MOST = 1e4
_LEAST = 1e-9


class Aligner:
    """Cuts faces out as `wanted` says, with a loaded detector.

    largest: of several faces take the largest, instead of refusing the picture.
    """

    def __init__(self, detector: Detector, wanted: Alignment, *, largest: bool = False) -> None:
        self._detector, self._wanted, self._largest = detector, wanted, largest

    @property
    def digest(self) -> str:
        """Return the SHA-256 (hex) of all on which a cutting depends besides the picture."""
        return hashlib.sha256(
            f"{self._wanted.model_dump_json()}{self._largest}".encode()
        ).hexdigest()

    def cut(self, picture: Image.Image, shape: ImageShape, where: str) -> Pixels:
        """Return the face of an upright picture, uint8 (H, W), or (H, W, 3) for a colour `shape`.

        Raises NoFaceFound, SeveralFaces or FaceTooSmall, which name `where`.
        """
        face = self.face(picture, where)
        matrix = similarity(face.points, np.array(self._wanted.template))
        if not 1 / _MOST < math.hypot(matrix[0, 0], matrix[1, 0]) < _MOST:
            raise NoFaceFound(f"{where}: no face was found that can be brought to the template")
        return cutting(picture, matrix, shape)

    def face(self, picture: Image.Image, where: str) -> Face:
        """Return the face in an upright picture that is meant. Raises as `cut` does."""
        found = self._detector.faces(picture)
        if not found:
            raise NoFaceFound(f"{where}: no face was found; give an upright picture of one face")
        counted = [face for face in found if face.size >= self._wanted.smallest]
        if not counted:
            raise FaceTooSmall(
                f"{where}: its face is {int(found[0].size)} pixels wide; give a picture with at "
                f"least {self._wanted.smallest}"
            )
        if len(counted) > 1 and not self._largest:
            raise SeveralFaces(
                f"{where}: has {len(counted)} faces, at {_boxes(counted)}; cut out one of them, or "
                "take the largest with --largest-face"
            )
        return counted[0]


def alignment_of(spec: RanSpec) -> Alignment | None:
    """How faces are cut out for a spec; None if pictures are taken whole, and for vectors."""
    return spec.features.aligned if isinstance(spec.features, Encoder) else None


def aligner_for(
    spec: RanSpec, files: PublicFiles = NO_FILES, *, largest: bool = False
) -> Aligner | None:
    """Return what cuts faces out for `spec`, or None if it wants whole pictures.

    Raises ConfigError if the detector's file is needed and not given or another one, and
    MissingExtra without onnxruntime.
    """
    if not isinstance(spec.features, Encoder) or (wanted := spec.features.aligned) is None:
        return None
    if files.detector is None:
        raise ConfigError(f"preset {spec.name}: needs its detector's ONNX file (--detector)")
    if onnx_file.digest(files.detector) == spec.features.sha256:
        raise ConfigError(
            f"{files.detector}: is the encoder, and finds no faces; give it with --encoder, and "
            "the detector's file with --detector"
        )
    return Aligner(detector.load(files.detector, wanted.detector), wanted, largest=largest)


def similarity(points: _Reals, template: _Reals) -> _Reals:
    """Return the turn, scale and shift that bring `points` nearest to `template`.

    points, template: float64 (n, 2), of (x, y) in pixels. The sum of squared distances is least.

    Returns float64 (2, 3): what [x, y, 1] is multiplied by. In the plane, Umeyama's solution is a
    division of complex numbers, which turn and scale when they multiply.
    """
    ours, theirs = points @ (1, 1j), template @ (1, 1j)
    centre, middle = ours.mean(), theirs.mean()
    around = ours - centre
    turn = around.conj() @ (theirs - middle) / max((around.conj() @ around).real, _LEAST)
    shift = middle - turn * centre
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def cutting(picture: Image.Image, matrix: _Reals, shape: ImageShape) -> Pixels:
    """Move a picture by `matrix`, float64 (2, 3), and keep the pixels of `shape` at the corner.

    Returns uint8 (H, W), or (H, W, 3) for a colour `shape`.
    """
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    # Pillow counts from the corner of the first pixel, a half before its centre.
    back[:, 2] += 0.5 - back[:, :2].sum(axis=1) / 2
    factor = math.floor(1 / math.hypot(matrix[0, 0], matrix[1, 0]))
    source = picture.convert("RGB" if shape.channels == 3 else "L")
    if factor > 1:
        source, back = _reduced(source, back, factor, shape)
    moved = source.transform(
        (shape.width, shape.height),
        Image.Transform.AFFINE,
        tuple(back.ravel().tolist()),
        Image.Resampling.BILINEAR,
    )
    return np.asarray(moved, dtype=np.uint8)


def _reduced(
    picture: Image.Image, back: _Reals, factor: int, shape: ImageShape
) -> tuple[Image.Image, _Reals]:
    """Average squares of `factor` pixels of that part of the picture to which `back` leads."""
    corners = [(x, y, 1) for x in (0, shape.width) for y in (0, shape.height)]
    reached = np.array(corners) @ back.T
    margin = _AROUND * factor
    low = np.floor(reached.min(axis=0) - margin).clip(0).astype(int)
    high = np.ceil(reached.max(axis=0) + margin).astype(int).clip(max=picture.size)
    if (high <= low).any():
        return picture, back
    small = picture.reduce(factor, box=(*low.tolist(), *high.tolist()))
    back = back.copy()
    back[:, 2] -= low
    return small, back / factor


def _boxes(faces: list[Face]) -> str:
    said = [
        f"({left:.0f}, {top:.0f}) of {width:.0f} x {height:.0f}"
        for left, top, width, height in (face.box for face in faces[:_NAMED])
    ]
    return ", ".join(said) + (", ..." if len(faces) > _NAMED else "")
