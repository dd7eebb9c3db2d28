"""Split an owner's images or vectors into training and validation, and extract their features.

Never sees a test image: the validation images are held out of the owner's images.
"""

import hashlib
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from privedge.arrays import Inputs, Pixels, is_pixels
from privedge.errors import TrainingError
from privedge.ran import features
from privedge.ran.feature_kinds import Cooccurrence, Encoder, FineCooccurrence, Vector
from privedge.ran.spec import RanSpec
from privedge.ran.vectors import require_usual_length
from privedge.user.settings import TrainSettings

Kind = TypeVar("Kind", bound=np.generic)

MIN_IMAGES = 1
# With fewer, each is worth more to the model than to a check of it.
HELD_OUT_FROM = 5
# Shifted copies help much with ten images, and not at all with two hundred.
_FEW = 100


@dataclass(frozen=True)
class OwnFeatures:
    """Training and validation features, float32 (n, *spec.input_shape).

    validation: of the held-out images; if none is held out, of all images, without shifted copies.
    images: the number of the owner's images, without shifted copies. held_out: how many of them the
        model does not learn from.
    digest: the SHA-256 (hex) of the images.
    """

    training: npt.NDArray[np.float32] = field(repr=False)
    validation: npt.NDArray[np.float32] = field(repr=False)
    images: int
    held_out: int
    digest: str


def prepare(images: Inputs, spec: RanSpec, settings: TrainSettings) -> OwnFeatures:
    """Split the images by the seed, enlarge a small training set by shifts, extract features.

    images: uint8 (n, H, W) or (n, H, W, 3), at the size of `spec.image`; or vectors (n, D).

    Raises TrainingError without images, and ImageError for a wrong size, or for vectors that are
    too short to be told from others.
    """
    if len(images) < MIN_IMAGES:
        what = "images" if is_pixels(images) else "vectors"
        raise TrainingError(f"{what}: none were given")
    require_told_apart(images, spec)
    learned, held_out = halves(np.arange(len(images)), settings)
    training, validation = images[learned], images[held_out]
    checked = validation if len(validation) else training
    validated = features.extract(spec, checked, encoder=settings.files.encoder)
    # Co-occurrence does not depend on where in the image a stroke is, and an encoder has learned
    # not to, so shifts add nothing.
    moves = not isinstance(spec.features, Cooccurrence | FineCooccurrence | Encoder)
    if len(training) < _FEW and moves and is_pixels(training):
        training = _shifted(training, by=max(1, spec.image_shape.height // 32))
    learned_from = features.extract(spec, training, encoder=settings.files.encoder)
    if isinstance(spec.features, Encoder) and not spec.features.unit_length:
        require_usual_length(learned_from, of_encoder=True)
    return OwnFeatures(
        learned_from,
        validated,
        len(images),
        len(validation),
        hashlib.sha256(images.tobytes()).hexdigest(),
    )


def require_told_apart(inputs: Inputs, spec: RanSpec) -> None:
    """Raise ImageError for one owner's vectors that do not fit `spec`, or are too short to be told
    from another owner's. Says nothing of pictures.
    """
    if isinstance(spec.features, Vector):
        found = features.extract(spec, inputs)
        if not spec.features.unit_length:
            require_usual_length(found)


def halves(
    images: npt.NDArray[Kind], settings: TrainSettings
) -> tuple[npt.NDArray[Kind], npt.NDArray[Kind]]:
    """Return (training, validation) images, drawn by the seed of `settings`.

    For `np.arange(len(images))` it returns the indices of the same images. Of fewer than
    HELD_OUT_FROM images none is for validation.
    """
    order = np.random.default_rng(settings.seed).permutation(len(images))
    held_out = max(1, round(len(images) * settings.validation_share))
    held_out = held_out if len(images) >= HELD_OUT_FROM else 0
    return images[order[held_out:]], images[order[:held_out]]


def for_so_many(settings: TrainSettings, images: int) -> TrainSettings:
    """Return the settings without a threshold if it would have no held-out image to come from."""
    return settings if images >= HELD_OUT_FROM else replace(settings, threshold_quantile=None)


def _shifted(images: Pixels, *, by: int) -> Pixels:
    """Return nine copies, shifted by -by, 0 and +by pixels along each axis; repeats the border."""
    around = [(0, 0), (by, by), (by, by)] + [(0, 0)] * (images.ndim - 3)
    padded = np.pad(images, around, mode="edge")
    height, width = images.shape[1:3]
    steps = (0, by, 2 * by)
    return np.concatenate(
        [
            padded[:, down : down + height, right : right + width]
            for down in steps
            for right in steps
        ]
    )
