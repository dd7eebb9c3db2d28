"""Read and write npz files without pickles, of pictures (`images`) or vectors (`vectors`).

Sees plaintext pictures and vectors: for the owner's and the client's device only. An array
`labels` has one integer or string for each picture or vector, and `unit_length`, one True or False,
says whether vectors are to be divided by their length.
"""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from privedge.arrays import Inputs, is_pixels
from privedge.errors import ImageError
from privedge.ran import pixels, vectors
from privedge.ran.images import DAMAGED, opened

MAX_ARRAY_BYTES = 4 << 30
IMAGES, VECTORS = "images", "vectors"
_LABELS, _UNIT = "labels", "unit_length"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_MOST_LABELS = 20

Array = npt.NDArray[Any]
_LABELS_CURE = "give whole numbers or text, as labels.astype('int64') or labels.astype(str)"


@dataclass(frozen=True)
class Npz:
    """A file of pictures or vectors, of which all but these themselves was read and checked.

    name: of the array that is meant, `images` or `vectors`.
    labels: integers or strings, one for each; None if the file has none.
    unit_length: whether the file says that its vectors are to be divided by their length; None if
        it says nothing.
    """

    path: Path
    name: str
    labels: Array | None = field(repr=False)
    unit_length: bool | None = None

    @cached_property
    def inputs(self) -> Inputs:
        """Unpack them, as `pixels.checked` or `vectors.checked` returns them. Raises ImageError."""
        check = pixels.checked if self.name == IMAGES else vectors.checked
        inputs: Inputs = check(arrays_of(self.path, self.name)[self.name], str(self.path))
        if self.labels is not None and self.labels.shape != inputs.shape[:1]:
            raise ImageError(
                f"{self.path}: has {len(inputs)} {self.name} but labels of shape "
                f"{self.labels.shape}"
            )
        return inputs

    def of_label(self, label: int | str | None) -> Inputs:
        """Return what has this label. A label is needed if the file has labels. Raises ImageError.

        label: from a command line it is text, even if it is a number.
        """
        if self.labels is None:
            if label is not None:
                raise ImageError(f"{self.path}: has no labels to choose {label} from")
            return self.inputs
        known = np.unique(self.labels)
        there = ", ".join(map(str, known[:_MOST_LABELS]))
        there += ", ..." if len(known) > _MOST_LABELS else ""
        if label is None:
            raise ImageError(
                f"{self.path}: has labels, and one owner's are needed; choose one with --label "
                f"(in Python, label=): {there}"
            )
        mine = _with_label(self.labels, label)
        if not mine.any():
            one = "image" if self.name == IMAGES else "vector"
            raise ImageError(f"{self.path}: has no {one} with label {label}; it has {there}")
        return self.inputs[mine]

    def by_label(self) -> dict[str, Inputs]:
        """Return what has each label, in order of label. Raises ImageError without labels, and for
        an empty file, in which there is no label whose inputs would be checked.
        """
        if self.labels is None:
            raise ImageError(f"{self.path}: has no labels, which say whose each one is")
        inputs = self.inputs
        known = np.unique(self.labels)
        return {str(label): inputs[self.labels == label] for label in known}


def read(path: Path, *, as_vectors: bool | None = None, with_labels: bool = True) -> Npz:
    """Read and check the file at `path`, but for the pictures or vectors, which may be large.

    as_vectors: whether it must hold vectors, or pictures; None accepts either.
    with_labels: whether its labels count; if not, it has none.

    Raises ImageError.
    """
    names = names_of(path)
    name = kind(path, names, as_vectors=as_vectors)
    if _LABELS in names:
        _require_one_each(path, name)
    small = {_UNIT, *([_LABELS] if with_labels else [])}.intersection(names)
    arrays = arrays_of(path, *small) if small else {}
    labels = arrays.get(_LABELS)
    return Npz(
        path,
        name,
        None if labels is None else _checked(labels, str(path)),
        _said(arrays[_UNIT], path, name) if _UNIT in arrays else None,
    )


def checked_labels(labels: Array, count: int, where: str, what: str = IMAGES) -> Array:
    """Return the labels of `count` images or vectors as integers or strings. Raises ImageError."""
    if labels.shape != (count,):
        raise ImageError(f"{where}: has {count} {what} but labels of shape {labels.shape}")
    return _checked(labels, where)


def _checked(labels: Array, where: str) -> Array:
    """Return labels (n,) as integers or strings. Raises ImageError."""
    where = f"{where}: labels"
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise ImageError(f"{where} are bytes, but no text in UTF-8; {_LABELS_CURE}") from None
    if labels.dtype.kind == "f" and (np.isfinite(labels) & (labels == np.rint(labels))).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iuU":
        raise ImageError(
            f"{where} must be whole numbers or text, got {labels.dtype}: {_LABELS_CURE}"
        )
    empty = np.char.str_len(np.char.strip(labels)) == 0 if labels.dtype.kind == "U" else labels < 0
    if empty.any():
        fault = "empty" if labels.dtype.kind == "U" else "negative"
        raise ImageError(
            f"{where}: that of number {int(np.flatnonzero(empty)[0])} is {fault}, and so names no "
            "owner; leave out what has no owner"
        )
    return labels


def _require_one_each(path: Path, name: str) -> None:
    """Raise ImageError unless there is one label for each input, as the headers of both say."""
    inputs, labels = _shape_of(path, name), _shape_of(path, _LABELS)
    if inputs and labels is not None and labels not in (inputs[:1], (1,)):  # one has fewer axes
        raise ImageError(f"{path}: has {inputs[0]} {name} but labels of shape {labels}")


def _said(unit_length: Array, path: Path, name: str) -> bool:
    if unit_length.shape != () or unit_length.dtype.kind != "b":
        raise ImageError(
            f"{path}: {_UNIT} must be one True or False, got {unit_length.dtype} "
            f"{unit_length.shape}"
        )
    if name != VECTORS:
        raise ImageError(f"{path}: {_UNIT} is for vectors, and these are pictures; leave it out")
    return bool(unit_length)


def names_of(path: Path) -> list[str]:
    """Return the names of the arrays of an npz, without unpacking any. Raises ImageError."""
    with _sound(path) as file, np.load(file, allow_pickle=False) as arrays:
        return list(arrays.files)


def _shape_of(path: Path, name: str) -> tuple[int, ...] | None:
    """Return the shape of an array as its header has it, without unpacking it; None for a header
    that only `np.load` can read. Raises ImageError.
    """
    with (
        _sound(path) as file,
        zipfile.ZipFile(file) as archive,
        archive.open(f"{name}.npy") as packed,
    ):
        version = np.lib.format.read_magic(packed)
        if version not in _HEADERS:
            return None
        shape: tuple[int, ...] = _HEADERS[version](packed)[0]
    return shape


@contextmanager
def _sound(path: Path) -> Iterator[BinaryIO]:
    """Open the npz at `path`. What is wrong with it becomes an ImageError."""
    with opened(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
                    raise ImageError(f"{path}: unpacks to more than {MAX_ARRAY_BYTES >> 30} GiB")
            file.seek(0)
            yield file
        except (*DAMAGED, zipfile.BadZipFile) as error:
            raise ImageError(f"{path}: is not a sound npz file without pickles") from error


def arrays_of(path: Path, *names: str) -> dict[str, Array]:
    """Read those arrays of an npz without pickles that are in `names`, or all if none is given.

    Raises ImageError for a file that is missing, damaged, no file or too large.
    """
    with _sound(path) as file, np.load(file, allow_pickle=False) as arrays:
        wanted = [name for name in arrays.files if not names or name in names]
        return {name: np.asarray(arrays[name]) for name in wanted}


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
        return np.asarray(labels == int(label))
    except (ValueError, OverflowError):
        return np.zeros(labels.shape, bool)
