"""Synthetic models and images for measuring: public random numbers, nobody's data.

The cost of a private run depends only on shapes, so nothing needs to be trained. The values are
scaled so that everything stays in the fixed-point range. They differ enough between owners that
answers differ between images. Never share a real model from here: the generator is seeded.
"""

import math
from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from privedge.arrays import Inputs
from privedge.ran import features
from privedge.ran.public_files import NO_FILES, PublicFiles
from privedge.ran.spec import Conv, Dense, Layer, RanSpec, Subspace
from privedge.sharing.fixed_point import LIMIT
from privedge.user.checkpoint import Parameters, Ran

# The threshold of an owner who wants none: every dissimilarity in range is below it.
_NO_THRESHOLD = LIMIT - 1
# Spots of light in an image, and the width of a spot relative to the image.
_SPOTS, _SPREAD = 6, 0.12


def images(spec: RanSpec, count: int, seed: int) -> Inputs:
    """Make images uint8 (count, H, W) or (count, H, W, 3) of `spec.image`: soft spots on black.

    For a spec of vectors, normal random numbers, float64 (count, D).
    """
    rng = np.random.default_rng([seed, 0])
    if spec.image is None:
        return rng.normal(size=(count, *spec.input_shape))
    size = spec.image
    rows, columns = np.mgrid[0 : 1 : size.height * 1j, 0 : 1 : size.width * 1j]
    made = np.empty((count, size.height, size.width), np.uint8)
    for picture in made:
        light = np.zeros(picture.shape)
        for down, across in rng.uniform(0.1, 0.9, (_SPOTS, 2)):
            light += np.exp(-((rows - down) ** 2 + (columns - across) ** 2) / (2 * _SPREAD**2))
        picture[:] = np.clip(255 * light, 0, 255)
    return made if size.channels == 1 else np.repeat(made[..., None], size.channels, axis=3)


class Models(Sequence[Ran]):
    """Models that are made on access, because ten thousand would need gigabytes."""

    def __init__(self, spec: RanSpec, count: int, seed: int, files: PublicFiles) -> None:
        self._spec, self._numbers, self._seed = spec, range(count), seed
        self._files = files

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, at: int) -> Ran: ...
    @overload
    def __getitem__(self, at: slice) -> list[Ran]: ...
    def __getitem__(self, at: int | slice) -> Ran | list[Ran]:
        if isinstance(at, slice):
            return [self._made(number) for number in self._numbers[at]]
        return self._made(self._numbers[at])

    def _made(self, number: int) -> Ran:
        rng = np.random.default_rng([self._seed, 1, number])
        return Ran(self._spec, f"owner-{number:04}", _parameters(self._spec, rng, self._files))


def models(spec: RanSpec, count: int, seed: int, files: PublicFiles = NO_FILES) -> Models:
    """Make `count` models of `spec`, of owners `owner-0000`, `owner-0001`, ...

    files: the public files that the spec names.
    """
    return Models(spec, count, seed, files)


def _parameters(spec: RanSpec, rng: np.random.Generator, files: PublicFiles) -> Parameters:
    parameters: Parameters = {}
    for name, shape in spec.parameters().items():
        if name == "threshold":
            parameters[name] = np.full(shape, _NO_THRESHOLD, np.float32)
            continue
        index, _, kind = name.partition(".")
        layer = spec.layers[int(index)]
        if isinstance(layer, Subspace) and kind == "mean":
            example = images(spec, 1, seed=int(rng.integers(1 << 31)))
            found = features.extract(spec, example, encoder=files.encoder)[0].reshape(shape)
            parameters[name] = np.ascontiguousarray(found, np.float32)
        else:
            parameters[name] = _values(layer, kind, shape, rng)
    return parameters


def _values(
    layer: Layer, kind: str, shape: tuple[int, ...], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    match layer, kind:
        case ((Conv() | Dense()), "weight"):
            values = rng.normal(0, 1 / math.sqrt(math.prod(shape[1:])), shape)
        case ((Conv() | Dense()), "bias"):
            values = rng.normal(0, 0.3, shape)
        case Subspace(), "basis":
            # A checkpoint's basis must have orthonormal rows.
            values = _orthonormal(rng.normal(size=shape))
        case _:  # a norm's gamma and beta
            values = np.full(shape, 1.0 if kind == "gamma" else 0.0)
    return np.ascontiguousarray(values, np.float32)


def _orthonormal(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return an orthonormal basis of the span of `rows`, float64 (rows, n).

    numpy's own QR keeps every core busy, and is ten times slower on a busy machine. With ten
    thousand models, that matters.
    """
    basis = np.array(rows)
    for _ in range(2):  # the second pass removes what rounding has left
        for at, row in enumerate(basis):
            row -= (row @ basis[:at].T) @ basis[:at]
            row /= np.sqrt(row @ row)
    return basis
