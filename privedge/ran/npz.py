"""Read and write npz files without pickles, of pictures (`images`) or vectors (`vectors`).

Sees plaintext pictures and vectors: for the owner's and the client's device only. An array
`labels` has one integer or string for each picture or vector.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from privedge.arrays import Inputs, is_pixels
from privedge.errors import ImageError
from privedge.ran import pixels, vectors
from privedge.ran.images import DAMAGED, opened

MAX_ARRAY_BYTES = 4 << 30
IMAGES, VECTORS = "images", "vectors"
_LABELS = "labels"
_MOST_LABELS = 20

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Npz:
    """The pictures or vectors of a file, as `pixels.checked` or `vectors.checked` returns them.

    labels: one for each, as `checked_labels` returns them; None if the file has none.
    """

    path: Path
    inputs: Inputs = field(repr=False)
    labels: Array | None = field(repr=False)

    def of_label(self, label: int | str | None) -> Inputs:
        """Return what has this label. A label is needed if the file has labels. Raises ImageError.

        label: from a command line it is text, even if it is a number.
        """
        if self.labels is None:
            if label is not None:
                raise ImageError(f"{self.path}: has no labels to choose {label} from")
            return self.inputs
        there = ", ".join(map(str, np.unique(self.labels)[:_MOST_LABELS]))
        there += ", ..." if len(np.unique(self.labels)) > _MOST_LABELS else ""
        if label is None:
            raise ImageError(f"{self.path}: has labels; choose one with --label: {there}")
        mine: Inputs = self.inputs[_with_label(self.labels, label)]
        if not len(mine):
            one = "image" if is_pixels(mine) else "vector"
            raise ImageError(f"{self.path}: has no {one} with label {label}; it has {there}")
        return mine

    def by_label(self) -> dict[str, Inputs]:
        """Return what has each label, in order of label. Raises ImageError without labels."""
        if self.labels is None:
            raise ImageError(f"{self.path}: has no labels, which say whose each one is")
        labels = np.unique(self.labels)
        return {str(label): self.inputs[self.labels == label] for label in labels}


def read(path: Path, *, as_vectors: bool | None = None) -> Npz:
    """Read and check the file at `path`.

    as_vectors: whether it must hold vectors, or pictures; None accepts either.

    Raises ImageError.
    """
    arrays = arrays_of(path, IMAGES, VECTORS, _LABELS)
    name = kind(path, [*arrays], as_vectors=as_vectors)
    found, labels = arrays[name], arrays.get(_LABELS)
    check = pixels.checked if name == IMAGES else vectors.checked
    inputs: Inputs = check(found, str(path))
    if labels is not None:
        labels = checked_labels(labels, len(inputs), str(path), name)
    return Npz(path, inputs, labels)


def checked_labels(labels: Array, count: int, where: str, what: str = IMAGES) -> Array:
    """Return the labels of `count` images or vectors: numbers or strings. Bytes become strings.

    Raises ImageError.
    """
    if labels.shape != (count,):
        raise ImageError(f"{where}: has {count} {what} but labels of shape {labels.shape}")
    if labels.dtype.kind not in "biufSU":
        raise ImageError(f"{where}: labels are {labels.dtype}; give whole numbers or strings")
    if labels.dtype.kind == "S":
        try:
            return np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise ImageError(f"{where}: labels are bytes that are no text; give strings") from None
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ImageError(f"{where}: a label is NaN or infinite; give whole numbers or strings")
    return labels


def arrays_of(path: Path, *names: str) -> dict[str, Array]:
    """Read those arrays of an npz without pickles that are in `names`, or all if none is given.

    Raises ImageError for a file that is missing, damaged, no file or too large.
    """
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
                    raise ImageError(f"{path}: unpacks to more than {MAX_ARRAY_BYTES >> 30} GiB")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                wanted = [name for name in arrays.files if not names or name in names]
                return {name: np.asarray(arrays[name]) for name in wanted}
        except (*DAMAGED, zipfile.BadZipFile) as error:
            raise ImageError(f"{path}: is not a sound npz file without pickles") from error


def write(path: Path, inputs: Inputs) -> None:
    """Write pictures or vectors, without labels, to a file that `read` accepts."""
    if is_pixels(inputs):
        np.savez(path, images=inputs)
    else:
        np.savez(path, vectors=inputs)


def kind(path: Path, names: Sequence[str], *, as_vectors: bool | None) -> str:
    """Return which of the arrays `names` of a file is read. Raises ImageError as `read` does."""
    there = [name for name in (IMAGES, VECTORS) if name in names]
    if len(there) > 1:
        raise ImageError(f"{path}: holds both images and vectors; keep one of the two")
    if not there:
        asked = {None: "images or vectors", True: VECTORS, False: IMAGES}[as_vectors]
        raise ImageError(f"{path}: has no array called {asked}")
    if as_vectors is not None and as_vectors != (there[0] == VECTORS):
        asked = VECTORS if as_vectors else "pictures"
        raise ImageError(f"{path}: holds {there[0]}, but {asked} are needed here")
    return there[0]


def _with_label(labels: Array, label: int | str) -> npt.NDArray[np.bool_]:
    if labels.dtype.kind == "U":
        return np.asarray(labels == str(label))
    try:
        return np.asarray(labels == float(label))
    except ValueError:
        return np.zeros(labels.shape, bool)
