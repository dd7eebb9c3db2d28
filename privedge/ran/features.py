"""The public feature maps: image or vector -> the features that a RAN reconstructs.

Sees plaintext images and vectors, so it runs on the owner's and the client's device only. The maps
themselves are neither secret nor trained. Owner and client must compute the same numbers, so the
maps are computed in float64 and rounded to float32 once, at the end. tests/golden/features.json
holds test vectors for other languages.

Conventions: a map repeats the border pixel outside the image; an angle is measured from +column
(right) towards +row (down); a Gaussian is cut off at ceil(3 sigma) and sums to one.

pixels        x / 127.5 - 1, channels first.

oriented(P)   1. x / 127.5 - 1; per channel g = (next - previous) / 2 along rows and columns;
                 a pixel keeps the channel whose gradient is longest (the first of equals).
              2. its length is divided between the two nearest of 8 directions, 45 degrees apart,
                 in proportion to the angle; that gives 8 maps.
              3. each map: Gaussian blur, sigma = P / 3, then the mean of every P x P cell.
              4. divide by (3 x 3 mean of the cells' norm over the 8 maps) + 0.02; square root.

oriented-scales(P, D, blurs)
              1. x / 127.5 - 1; for each sigma of `blurs`: Gaussian blur of every channel, then as
                 oriented(P), but with D directions, 360 / D degrees apart.
              2. the D maps of the first sigma, those of the second, and so on.

oriented-centre(P, D, blurs, left, right, top, bottom)
              oriented-scales(P, D, blurs) of the whole image, without its first `left` and last
              `right` columns of cells, its first `top` and last `bottom` rows.

cooccurrence  1. grey / 255, Gaussian blur with sigma 0.8; gradient as above, 12 directions
                 w_0..w_11, 30 degrees apart.
              2. for each offset d of (3,0) (0,3) (3,3) (3,-3) (7,0) (0,7) (rows, columns):
                 M[a][b] = sum over p of w_a(p) w_b(p + d), both inside the image;
                 divide by the sum of M (all zero for a blank image); square root.
              3. the six 12 x 12 matrices, row by row, one after the other: 864 values.

fine-cooccurrence(D)
              as cooccurrence, with D directions, 360 / D degrees apart: 6 D^2 values.

encoder       1. of each channel, in the encoder's order: pixel * scale + offset, rounded to
                 float32; channels first or last, as its layout says.
              2. a public ONNX file, which is given one picture at a time; its first output,
                 float32 (1, *output). With unit_length it is divided by its Euclidean length.

vector        no image, but numbers that owner and client bring themselves (ran/vectors.py). With
              unit length: x / (root of the sum of x^2).
"""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from privedge import arrays
from privedge.arrays import Features, is_pixels
from privedge.errors import ConfigError, ImageError
from privedge.ran import onnx_encoder, vectors
from privedge.ran.alignment import aligner_for
from privedge.ran.feature_kinds import (
    Cooccurrence,
    Encoder,
    FineCooccurrence,
    Oriented,
    OrientedCentre,
    OrientedScales,
    Pixels,
    Vector,
)
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import RanSpec

_Reals = npt.NDArray[np.float64]

_OFFSETS = ((3, 0), (0, 3), (3, 3), (3, -3), (7, 0), (0, 7))
# Bounds the memory of the float64 maps; the result does not depend on it.
_BATCH = 64


def extract(spec: RanSpec, images: arrays.Inputs, *, encoder: Path | None = None) -> Features:
    """Compute the features, float32 (n, *spec.input_shape), of images or vectors.

    images: uint8 (n, H, W) or (n, H, W, 3), already at the size of `spec.image`. Grey images are
        repeated in each channel of a colour spec. For a spec of vectors, floats (n, D).
    encoder: the ONNX file, needed only if the spec names one.

    Raises ImageError for another size or dtype, and ConfigError or MissingExtra for an encoder that
    cannot be used.
    """
    if isinstance(spec.features, Vector):
        checked = vectors.checked(images)
        return vectors.features(checked, spec.features, spec.name).astype(np.float32)
    planes = _planes(spec, images)
    transform = _transform(spec, encoder)
    parts = [transform(planes[i : i + _BATCH]) for i in range(0, len(planes), _BATCH)]
    if not parts:
        return np.zeros((0, *spec.input_shape), np.float32)
    rounded = np.concatenate(parts).astype(np.float32, copy=False)
    return rounded.reshape(-1, *spec.input_shape)


def require_files(spec: RanSpec, files: PublicFiles) -> None:
    """Check before anything else is done that `files` has what `spec` names.

    Raises ConfigError for a file that is missing or another one, and MissingExtra.
    """
    if isinstance(spec.features, Encoder):
        _loaded(spec, spec.features, files.encoder)
    aligner_for(spec, files)


def require_used(spec: RanSpec, files: PublicFiles, *, largest_face: bool = False) -> None:
    """Raise ConfigError for a file, or a choice of faces, that `spec` would silently ignore."""
    encoder = spec.features if isinstance(spec.features, Encoder) else None
    if files.encoder is not None and encoder is None:
        raise ConfigError(f"encoder: {spec.name} computes its features without one; leave it out")
    if encoder is None or encoder.aligned is None:
        given = {"detector": files.detector is not None, "largest face": largest_face}
        if unused := [name for name, is_given in given.items() if is_given]:
            takes = "vectors" if spec.image is None else "whole pictures"
            raise ConfigError(
                f"{', '.join(unused)}: {spec.name} takes {takes} and looks for no faces; leave "
                f"{'them' if len(unused) > 1 else 'it'} out"
            )


def _loaded(
    spec: RanSpec, named: Encoder, file: Path | None
) -> Callable[[arrays.Pixels], Features]:
    if file is None:
        raise ConfigError(
            f"preset {spec.name}: needs the ONNX file of its encoder, which has the SHA-256 "
            f"{named.sha256}; give it with --encoder"
        )
    return onnx_encoder.load(file, named)


def _planes(spec: RanSpec, images: arrays.Inputs) -> arrays.Pixels:
    """Return the images as uint8 (n, channels, H, W)."""
    size = spec.image_shape
    if not is_pixels(images) or images.shape[1:3] != (size.height, size.width):
        raise ImageError(
            f"images: expected uint8 of {size.height} x {size.width} pixels, "
            f"got {images.dtype} of shape {images.shape}"
        )
    if images.ndim == 3:
        return np.repeat(images[:, None], size.channels, axis=1)
    if images.ndim != 4 or images.shape[3] != size.channels:
        raise ImageError(f"images: expected {size.channels} channels, got shape {images.shape}")
    return images.transpose(0, 3, 1, 2)


def _transform(
    spec: RanSpec, encoder: Path | None
) -> Callable[[arrays.Pixels], npt.NDArray[np.floating]]:
    match spec.features:
        case Pixels():
            return _scaled
        case Oriented(cell=cell):
            return lambda planes: _oriented(_scaled(planes), cell, 8)
        case (OrientedScales() | OrientedCentre()) as wanted:
            return lambda planes: _oriented_scales(_scaled(planes), wanted)
        case (Cooccurrence() | FineCooccurrence()) as named:
            directions = named.directions if isinstance(named, FineCooccurrence) else 12
            return lambda planes: _cooccurrence(planes.mean(axis=1) / 255.0, directions)
        case Encoder() as named:
            return _loaded(spec, named, encoder)
        case Vector():
            raise ImageError(f"preset {spec.name}: takes vectors, not pictures")


def _scaled(planes: arrays.Pixels) -> _Reals:
    scaled: _Reals = planes / 127.5 - 1.0
    return scaled


def _oriented_scales(planes: _Reals, wanted: OrientedScales | OrientedCentre) -> _Reals:
    """(n, channels, H, W) -> (n, blurs * directions, H / cell, W / cell), or its kept centre."""
    scales = [
        _oriented(_blur(planes, sigma), wanted.cell, wanted.directions) for sigma in wanted.blurs
    ]
    maps = np.concatenate(scales, axis=1)
    if isinstance(wanted, OrientedScales):
        return maps
    left, right, top, bottom = wanted.left_out
    return maps[:, :, top : maps.shape[2] - bottom, left : maps.shape[3] - right]


def _oriented(planes: _Reals, cell: int, bins: int) -> _Reals:
    """(n, channels, H, W) -> (n, bins, H / cell, W / cell)."""
    maps = _directions(*_longest_gradient(planes), bins)
    rows, columns = (
        _means(extent, cell) @ _smoothing(extent, cell / 3) for extent in maps.shape[2:]
    )
    cells = rows @ maps @ columns.T
    norm = np.sqrt((cells**2).sum(axis=1, keepdims=True))
    around = _convolve(_convolve(norm, np.full(3, 1 / 3), axis=2), np.full(3, 1 / 3), axis=3)
    normed: _Reals = np.sqrt(cells / (around + 0.02))
    return normed


def _cooccurrence(grey: _Reals, bins: int) -> _Reals:
    """(n, H, W) -> (n, 6 * bins^2)."""
    weights = _directions(*_longest_gradient(_blur(grey[:, None], 0.8)), bins)
    n, _, height, width = weights.shape
    matrices = []
    for down, right in _OFFSETS:
        here = weights[:, :, : height - down, max(0, -right) : width - max(0, right)]
        there = weights[:, :, down:, max(0, right) : width + min(0, right)]
        matrix = here.reshape(n, bins, -1) @ there.reshape(n, bins, -1).transpose(0, 2, 1)
        total = matrix.sum(axis=(1, 2), keepdims=True)
        matrices.append(np.sqrt(np.divide(matrix, total, out=matrix, where=total > 0)))
    return np.stack(matrices, axis=1).reshape(n, -1)


def _longest_gradient(planes: _Reals) -> tuple[_Reals, _Reals]:
    """Return the gradient (along rows, along columns) of the channel in which it is longest.

    (n, channels, H, W) -> two maps of shape (n, H, W).
    """
    padded = np.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    right = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    longest = (down**2 + right**2).argmax(axis=1)[:, None]
    return (
        np.take_along_axis(down, longest, axis=1)[:, 0],
        np.take_along_axis(right, longest, axis=1)[:, 0],
    )


def _directions(down: _Reals, right: _Reals, bins: int) -> _Reals:
    """Gradients (n, H, W) -> (n, bins, H, W): splits lengths between the nearest two directions."""
    length = np.sqrt(down**2 + right**2)
    angle = np.arctan2(down, right) * (bins / (2 * math.pi))
    lower = np.floor(angle)
    share = angle - lower
    first = lower.astype(np.int64) % bins
    maps = np.zeros((len(down), bins, *down.shape[1:]))
    np.put_along_axis(maps, first[:, None], (length * (1 - share))[:, None], axis=1)
    np.put_along_axis(maps, ((first + 1) % bins)[:, None], (length * share)[:, None], axis=1)
    return maps


def _blur(planes: _Reals, sigma: float) -> _Reals:
    """Blur with a Gaussian, (n, c, H, W) -> the same shape.

    Every pixel is summed in the same order, so a blank image stays exactly blank. Otherwise
    co-occurrence would divide the rounding errors by their own sum, and so enlarge them.
    """
    return _convolve(_convolve(planes, _gaussian(sigma), axis=2), _gaussian(sigma), axis=3)


def _gaussian(sigma: float) -> _Reals:
    radius = math.ceil(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    gaussian: _Reals = kernel / kernel.sum()
    return gaussian


def _convolve(maps: _Reals, kernel: _Reals, *, axis: int) -> _Reals:
    """Convolve along one axis with a symmetric kernel. Repeats the border and keeps the shape."""
    radius, extent = len(kernel) // 2, maps.shape[axis]
    around = [(0, 0)] * maps.ndim
    around[axis] = (radius, radius)
    padded = np.pad(maps, around, mode="edge")
    result = np.zeros_like(maps)
    for offset, weight in enumerate(kernel):
        window = [slice(None)] * maps.ndim
        window[axis] = slice(offset, offset + extent)
        result += weight * padded[tuple(window)]
    return result


def _smoothing(extent: int, sigma: float) -> _Reals:
    """Return the matrix (extent, extent) of a Gaussian blur along one axis.

    An image has many maps; for them a product with this matrix needs a tenth of _convolve's time.
    """
    matrix: _Reals = _convolve(np.eye(extent)[None, None], _gaussian(sigma), axis=2)[0, 0]
    return matrix


def _means(extent: int, cell: int) -> _Reals:
    """Return the matrix (extent // cell, extent) that averages each run of `cell` values."""
    count = extent // cell
    return np.kron(np.eye(count), np.full((1, cell), 1 / cell)) @ np.eye(count * cell, extent)
