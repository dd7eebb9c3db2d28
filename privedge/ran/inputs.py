"""Read pictures and vectors in every accepted form: files, folders, Pillow images and arrays.

    given(source, shape)        the pictures at the size of `shape`, uint8 (n, H, W[, 3])
    given(source, None)         the vectors, float64 (n, D)
    given(..., aligner=...)     the faces in them, for a spec that is aligned (ran/alignment.py)
    opened(source)              the pictures before decoding, to measure them and choose a size

Sees plaintext images and vectors: for the owner's and the client's device only. Anything else
raises an ImageError that says how to convert it. One error names all files that cannot be used.
"""

import logging
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from privedge.arrays import Inputs, Pixels, is_pixels
from privedge.config import StrPath
from privedge.errors import ImageError
from privedge.progress import Progress
from privedge.ran import images as files
from privedge.ran import npz, pixels, quality, refusals, vectors
from privedge.ran.alignment import Aligner
from privedge.ran.images import Measured
from privedge.ran.spec import ImageShape

log = logging.getLogger(__name__)

# An array is uint8 (n, H, W) or (n, H, W, 3), or one picture; see pixels.checked for the rules.
Picture = StrPath | Image.Image
Pictures = Picture | Sequence[Picture] | Sequence[Pixels] | Pixels
# Vectors are float32 or float64 (n, D), or one vector (D,); see vectors.checked for the rules.
_Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Source = Pictures | _Floats | Sequence[_Floats]

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_MOST_BAD = 20
_VECTORS_NEEDED = "vectors are needed here, float32 or float64 of shape (n, D), and not pictures"
_PICTURES_NEEDED = "vectors: pictures are needed here"
_IF_VECTORS = "; vectors need a preset and a cohort of vectors"


@dataclass
class Opened:
    """Pictures before decoding, either files and Pillow images or an array; or vectors.

    skip_bad: whether files that cannot be decoded are left out; None if the caller has no choice.
    """

    pictures: Sequence[Path | Image.Image]
    array: Inputs | None = field(default=None, repr=False)
    skip_bad: bool | None = None
    _looks: "list[_Look]" = field(default_factory=list, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """The pictures that are files."""
        return tuple(each for each in self.pictures if isinstance(each, Path))

    @property
    def vector_size(self) -> int | None:
        """How many values each vector has; None for pictures."""
        return None if self.array is None or is_pixels(self.array) else self.array.shape[1]

    @property
    def names(self) -> list[str]:
        """What quality.py calls each picture: its file's name, or "picture 0"."""
        if self.array is not None:
            return [f"picture {number}" for number in range(len(self.array))]
        return [
            each.name if isinstance(each, Path) else f"picture {number}"
            for number, each in enumerate(self.pictures)
        ]

    @property
    def greys(self) -> list[Pixels]:
        """What quality.py judges of each picture. Decodes those that were not measured."""
        if self.array is not None and is_pixels(self.array):
            return quality.greys(self.array)
        if not self._looks:
            measured(self)
        return [look.grey for look in self._looks if look.grey is not None]

    @property
    def one_by_one(self) -> "Opened":
        """The same with the pictures of an array as Pillow images, which can be left out singly."""
        if self.array is None or not is_pixels(self.array):
            return self
        return Opened([Image.fromarray(each) for each in self.array], skip_bad=self.skip_bad)

    def require_faces(self, aligner: Aligner) -> None:
        """Raise ImageError as `at` would with this aligner. Drops files that may be skipped."""
        _decoded([self.one_by_one], aligner.face)

    def at(self, shape: ImageShape | None, aligner: Aligner | None = None) -> Inputs:
        """Return the pictures as uint8 (n, H, W) or (n, H, W, 3), at the size of `shape`.

        shape: `RanSpec.image`, which is None for vectors; these are returned as float64 (n, D).

        With `aligner`, faces are cut out; else pictures of another aspect ratio are stretched.
        Raises ImageError for bad files, for pictures without the one face that is wanted, and for
        vectors in place of pictures or pictures in place of vectors.
        """
        if shape is None or self.vector_size is not None:
            return self._vectors(shape)
        (found,) = at_one_size([self], shape, aligner)
        return found

    def source(self, shape: ImageShape | None) -> Inputs | tuple[Path, ...]:
        """Return the files, or what `at` returns if there are none."""
        return self.at(shape) if self.array is not None else self.files

    def _vectors(self, shape: ImageShape | None) -> Inputs:
        if self.array is None or self.vector_size is None:
            raise ImageError(_VECTORS_NEEDED)
        if shape is not None:
            raise ImageError(_PICTURES_NEEDED)
        return self.array


def _pixels(array: Inputs) -> Pixels:
    if not is_pixels(array):
        raise ImageError(_PICTURES_NEEDED)
    return array


def at_one_size(
    sets: Sequence[Opened], shape: ImageShape, aligner: Aligner | None = None
) -> list[Pixels]:
    """Return what `Opened.at` gives for each set. Raises one ImageError naming all bad files."""
    if aligner is not None:
        faces = _decoded([each.one_by_one for each in sets], partial(_face, aligner, shape))
        return [np.stack(found) for found in faces]
    resized = _decoded(sets, lambda picture, _: files.to_size(picture, shape))
    return [
        np.stack(found) if each.array is None else files.fit(_pixels(each.array), shape)
        for each, found in zip(sets, resized, strict=True)
    ]


def faces_of(
    sets: Mapping[K, Opened], shape: ImageShape, aligner: Aligner, progress: Progress
) -> dict[K, Pixels]:
    """Return the faces of each set, uint8 (n, H, W) or (n, H, W, 3), at the size of `shape`.

    Raises one ImageError that names all pictures without the one face that is wanted. If they may
    be left out, sets without any other picture are left out too.
    """
    total, done = sum(len(each.one_by_one.pictures) for each in sets.values()), count(1)

    def cut(picture: Image.Image, where: str) -> Pixels:
        progress("find faces", next(done), total)
        return aligner.cut(picture, shape, where)

    progress("find faces", 0, total)
    found, bad = _tried([each.one_by_one for each in sets.values()], cut)
    named = _required_good(bad, "files", skip_bad=all(each.skip_bad for each in sets.values()))
    faces = {key: np.stack(some) for key, some in zip(sets, found, strict=True) if some}
    if not faces:
        raise ImageError(f"no picture is left: {named}")
    return faces


def _face(aligner: Aligner, shape: ImageShape, picture: Image.Image, where: str) -> Pixels:
    return aligner.cut(picture, shape, where)


def given(
    source: Source,
    shape: ImageShape | None,
    *,
    label: int | str | None = None,
    aligner: Aligner | None = None,
) -> Inputs:
    """Return all pictures of `source` as uint8 (n, H, W) or (n, H, W, 3), at the size of `shape`.

    source: a PNG, JPEG or WebP file, a folder of such files (read in order of name), an npz with
        `images` or `vectors`, a Pillow image, a list of files and Pillow images, or an array that
        `pixels.checked` or `vectors.checked` accepts.
    shape: `RanSpec.image`. None is for vectors: these are returned as float64 (n, D).
    label: for an npz with `labels`: read only what has this label.
    aligner: cuts the faces out, for a spec that is aligned.

    Raises ImageError for anything that cannot be used; the message says what to do about it.
    """
    return opened(source, label=label, as_vectors=shape is None).at(shape, aligner)


def asked(source: Source, shape: ImageShape | None) -> Opened:
    """Find all of `source`, as `opened` does, whatever labels an npz has: somebody asks about it.

    shape: as for `given`.
    """
    as_vectors = shape is None
    if isinstance(source, str | os.PathLike) and is_npz(source):
        return Opened((), npz.read(Path(source), as_vectors=as_vectors).inputs)
    return opened(source, as_vectors=as_vectors)


def opened(
    source: Source,
    *,
    label: int | str | None = None,
    skip_bad: bool | None = None,
    as_vectors: bool | None = None,
) -> Opened:
    """Find the pictures of `source`, in a form that `given` accepts, and decode none yet.

    as_vectors: whether these must be vectors, or pictures; None decides by what is given: an npz by
        the name of its array, and an array by its dtype and shape.

    Raises ImageError. Warns of files that are passed over.
    """
    if isinstance(source, str | os.PathLike):
        if not os.fspath(source):
            raise ImageError("images: the name of the file or folder is empty")
        return _from_path(Path(source), label, skip_bad, as_vectors)
    if label is not None:
        raise _no_label()
    if isinstance(source, np.ndarray):
        return Opened((), _checked(source, as_vectors), skip_bad)
    if as_vectors and not _is_list_of_arrays(source):
        raise ImageError(_VECTORS_NEEDED)
    if isinstance(source, Image.Image):
        return Opened([source], skip_bad=skip_bad)
    return _from_list(source, skip_bad, as_vectors)


def _from_path(
    path: Path, label: int | str | None, skip_bad: bool | None, as_vectors: bool | None
) -> Opened:
    if is_npz(path):
        return Opened((), npz.read(path, as_vectors=as_vectors).of_label(label), skip_bad)
    if label is not None:
        raise _no_label()
    if as_vectors:
        raise ImageError(f"{path}: {_VECTORS_NEEDED}")
    return Opened(in_folder(path), skip_bad=skip_bad)


def _from_list(source: object, skip_bad: bool | None, as_vectors: bool | None) -> Opened:
    if not isinstance(source, Sequence) or isinstance(source, bytes | bytearray | memoryview):
        raise refusals.refused(source, "images")
    if not source:
        raise ImageError("images: none were given")
    if _is_list_of_arrays(source):
        return Opened((), _checked(refusals.stacked(source), as_vectors), skip_bad)
    return Opened([_one(each, number) for number, each in enumerate(source)], skip_bad=skip_bad)


def _checked(array: npt.NDArray[np.generic], as_vectors: bool | None) -> Inputs:
    like = vectors.is_like(array)
    if as_vectors or (as_vectors is None and like):
        return vectors.checked(array)
    try:
        return pixels.checked(array)
    except ImageError as error:
        raise ImageError(f"{error}{_IF_VECTORS if like else ''}") from None


def _is_list_of_arrays(source: object) -> TypeGuard[Sequence[npt.NDArray[np.generic]]]:
    return (
        isinstance(source, Sequence)
        and len(source) > 0
        and all(isinstance(each, np.ndarray) for each in source)
    )


def is_npz(source: object) -> bool:
    """Return whether `source` is the name of an npz file."""
    return isinstance(source, str | os.PathLike) and Path(source).suffix.lower() == ".npz"


def _no_label() -> ImageError:
    return ImageError("label: only an npz with labels has one to choose")


def in_folder(path: Path) -> list[Path]:
    """List the pictures of a folder, or return `path` alone if it is a file.

    Raises ImageError for a folder without pictures. Warns of files that are passed over.
    """
    try:
        if not path.is_dir():
            return [path]
    except OSError as error:
        raise ImageError(f"{str(path)[:200]}: cannot be read ({error.strerror})") from None
    found = files.required(path)
    if left := files.passed_over(path, found):
        log.warning("%s: %s", path, left)
    return found


def by_owner(place: Path, *, skip_bad: bool, as_vectors: bool | None = None) -> dict[str, Opened]:
    """Find what each owner has, by the owner's name: that of a folder in `place`, or a label of an
    npz.

    as_vectors: as for `opened`.

    Raises ImageError, and warns, as `in_folders` does.
    """
    if is_npz(place):
        held = npz.read(place, as_vectors=as_vectors)
        return {label: Opened((), inputs) for label, inputs in held.by_label().items()}
    if as_vectors:
        raise ImageError(f"{place}: {_VECTORS_NEEDED}")
    return {folder.name: found for folder, found in in_folders(place, skip_bad=skip_bad).items()}


def in_folders(folder: Path, *, skip_bad: bool | None) -> dict[Path, Opened]:
    """Find and measure the pictures of each folder in `folder`, in order of name.

    skip_bad: leave out bad files, and folders without a picture that can be read; None if the
        caller has no choice.

    Raises ImageError, which names all bad files and folders. Warns of those that are passed over or
    left out.
    """
    found = files.subfolders(folder)
    if not found:
        raise ImageError(f"{folder}: holds no folders; make one in it for each owner's images")
    if left := files.passed_over(folder, found):
        log.warning("%s: %s", folder, left)
    sets, bad = _each_opened(found, skip_bad)
    what = "files and folders" if bad else "files"
    looks, bad_files = _tried([*sets.values()], _look)
    named = _required_good([*bad, *bad_files], what, skip_bad=skip_bad)
    for pictures, seen in zip(sets.values(), looks, strict=True):
        pictures._looks = seen
    sets = {each: pictures for each, pictures in sets.items() if pictures.pictures}
    if not sets:
        raise ImageError(f"no picture is left: {named}")
    return sets


def _each_opened(
    folders: Sequence[Path], skip_bad: bool | None
) -> tuple[dict[Path, Opened], list[str]]:
    """Open each folder. Leave out those that cannot be used, and say why."""
    sets, bad = {}, []
    for folder in folders:
        try:
            sets[folder] = opened(folder, skip_bad=skip_bad)
        except ImageError as error:
            bad.append(str(error))
    return sets, bad


def measured(*sets: Opened) -> Measured:
    """Measure all pictures of `sets` together, to choose a preset. Raises ImageError.

    A file is decoded only in the first call. Bad files that may be skipped are dropped.
    """
    if any(each.vector_size is not None for each in sets):
        raise ImageError("vectors: have no size in pixels")
    new = [each for each in sets if not each._looks]
    for each, found in zip(new, _decoded(new, _look), strict=True):
        array = each.array
        each._looks = _looks(array) if array is not None and is_pixels(array) else found
    every = [look for each in sets for look in each._looks]
    return Measured(
        _middle([look.height for look in every]),
        _middle([look.width for look in every]),
        3 if any(look.colour for look in every) else 1,
        len(every),
        3 if any(look.stored for look in every) else 1,
    )


@dataclass(frozen=True)
class _Look:
    """The facts kept of one picture. `grey` is what quality.py judges; None in an array."""

    height: int
    width: int
    colour: bool
    stored: bool
    grey: Pixels | None


def _look(picture: Image.Image, _where: str) -> _Look:
    stored = picture.mode == "RGB"
    colour = stored and files.has_colour(np.asarray(picture))
    return _Look(picture.height, picture.width, colour, stored, quality.grey(picture))


def _looks(array: Pixels) -> list[_Look]:
    stored = array.ndim == 4
    colour = stored and files.has_colour(array)
    height, width = array.shape[1:3]
    return [_Look(height, width, colour, stored, None)] * len(array)


def _decoded(sets: Sequence[Opened], use: Callable[[Image.Image, str], T]) -> list[list[T]]:
    """Apply `use` to every picture of every set, and where it is.

    Raises one ImageError naming all bad files.
    """
    results, bad = _tried(sets, use)
    choices = {each.skip_bad for each in sets}
    what = "files" if any(each.files for each in sets) else "pictures"
    named = _required_good(bad, what, skip_bad=None if None in choices else all(choices))
    if any(each.array is None and not each.pictures for each in sets):
        raise ImageError(f"no picture is left{': ' if named else ''}{named}")
    return results


def _tried(
    sets: Sequence[Opened], use: Callable[[Image.Image, str], T]
) -> tuple[list[list[T]], list[str]]:
    """Apply `use` to every picture of every set. Drop those that are bad, and say why."""
    results: list[list[T]] = []
    bad: list[str] = []
    for each in sets:
        kept, found = [], []
        for number, picture in enumerate(each.pictures):
            try:
                where = str(picture) if isinstance(picture, Path) else f"picture {number}"
                found.append(use(_plain(picture, where), where))
                kept.append(number)
            except ImageError as error:
                bad.append(str(error))
        each.pictures = [each.pictures[number] for number in kept]
        if each._looks:
            each._looks = [each._looks[number] for number in kept]
        results.append(found)
    return results, bad


def _required_good(bad: Sequence[str], what: str, *, skip_bad: bool | None) -> str:
    """Return what `bad` says, and warn of it. Raises ImageError if it may not be left out."""
    named = "; ".join(bad[:_MOST_BAD]) + ("; ..." if len(bad) > _MOST_BAD else "")
    counted = f"{len(bad)} {what} cannot be used: " if len(bad) > 1 else ""
    if bad and not skip_bad:
        it = "them" if len(bad) > 1 else "it"
        cure = "" if skip_bad is None else f"; repair {it}, or leave {it} out with --skip-bad"
        raise ImageError(f"{counted}{named}{cure}")
    if bad:
        log.warning("left out: %s", named)
    return named


def _plain(picture: Path | Image.Image, where: str) -> Image.Image:
    return files.decode(picture) if isinstance(picture, Path) else files.upright(picture, where)


def _one(each: object, number: int) -> Path | Image.Image:
    if isinstance(each, str | os.PathLike):
        return Path(each)
    if isinstance(each, Image.Image):
        return each
    raise refusals.refused(each, f"images[{number}]")


def _middle(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]
