"""Read pictures and vectors in every accepted form: files, folders, Pillow images and arrays.

    given(source, shape)        the pictures at the size of `shape`, uint8 (n, H, W[, 3])
    given(source, None)         the vectors, float64 (n, D)
    given(..., aligner=...)     the faces in them, for a spec that is aligned (ran/alignment.py)
    opened(source)              the pictures before decoding, to measure them and choose a size

Sees plaintext images and vectors: for the owner's and the client's device only. Anything else
raises an ImageError that says how to convert it. One error names all files that cannot be used.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeGuard, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from privedge.arrays import Inputs, Pixels, is_pixels
from privedge.config import StrPath
from privedge.errors import ImageError
from privedge.ran import images as files
from privedge.ran import npz, pixels, quality, refusals, vectors
from privedge.ran.alignment import Aligner
from privedge.ran.feature_kinds import Vector
from privedge.ran.images import Measured
from privedge.ran.spec import ImageShape, RanSpec

log = logging.getLogger(__name__)

# An array is uint8 (n, H, W) or (n, H, W, 3), or one picture; see pixels.checked for the rules.
Picture = StrPath | Image.Image
Pictures = Picture | Sequence[Picture] | Sequence[Pixels] | Pixels
# Vectors are float32 or float64 (n, D), or one vector (D,); see vectors.checked for the rules.
_Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]
Source = Pictures | _Floats | Sequence[_Floats]

T = TypeVar("T")

_MOST_BAD = 20
VECTORS_NEEDED = "vectors are needed here, float32 or float64 of shape (n, D), and not pictures"
_PICTURES_NEEDED = "vectors: pictures are needed here"
_IF_VECTORS = "; vectors need a preset and a cohort of vectors"


@dataclass
class Opened:
    """Pictures before decoding, either files and Pillow images or an array; or vectors.

    skip_bad: whether files that cannot be decoded are left out; None if the caller has no choice.
    unit_length: whether their file says that vectors are to be divided by their length; None if it
        says nothing.
    """

    pictures: Sequence[Path | Image.Image]
    array: Inputs | None = field(default=None, repr=False)
    skip_bad: bool | None = None
    unit_length: bool | None = None
    looks: "list[_Look]" = field(default_factory=list, repr=False)

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
        """What quality.py calls each picture or vector: its file's name, or "picture 0"."""
        if self.array is not None:
            kind = "picture" if self.vector_size is None else "vector"
            return [f"{kind} {number}" for number in range(len(self.array))]
        return [
            each.name if isinstance(each, Path) else f"picture {number}"
            for number, each in enumerate(self.pictures)
        ]

    @property
    def greys(self) -> list[Pixels]:
        """What quality.py judges of each picture. Decodes those that were not measured."""
        if self.array is not None and is_pixels(self.array):
            return quality.greys(self.array)
        if not self.looks:
            measured(self)
        return [look.grey for look in self.looks if look.grey is not None]

    @property
    def digests(self) -> list[str]:
        """The SHA-256 (hex) of each picture as it is decoded, or of each vector: equal ones have
        equal digests, whatever their files are. Decodes pictures that were not measured.
        """
        if self.array is not None:
            return [digest_of(each) for each in self.array]
        if not self.looks:
            measured(self)
        return [look.digest for look in self.looks]

    def require_fitting(self, spec: RanSpec) -> None:
        """Raise ImageError if the file of vectors says something else of unit length than `spec`.

        What is in it was made for lengths that count, or for lengths that do not.
        """
        if isinstance(spec.features, Vector):
            require_agreed(self.unit_length, spec.features.unit_length, f"preset {spec.name}")

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
            raise ImageError(VECTORS_NEEDED)
        if shape is not None:
            raise ImageError(_PICTURES_NEEDED)
        return self.array


def require_agreed(said: bool | None, wanted: bool, who: str) -> None:
    """Raise ImageError if a file says something else of unit length than `who` wants."""
    if said is not None and said != wanted:
        raise ImageError(
            f"vectors: their file says unit_length = {said}, and {who} has {wanted}; give vectors "
            "that were made for it, or leave unit_length out of the file if either is fine"
        )


def digest_of(array: npt.NDArray[np.generic]) -> str:
    """Return the SHA-256 (hex) of the shape and the values of a picture or vector."""
    whole = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
    whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()


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
        held = npz.read(Path(source), as_vectors=as_vectors, with_labels=False)
        return Opened((), held.inputs, unit_length=held.unit_length)
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
        return Opened((), _checked(refusals.plain(source), as_vectors), skip_bad)
    if as_vectors and not _is_list_of_arrays(source):
        raise ImageError(VECTORS_NEEDED)
    if isinstance(source, Image.Image):
        return Opened([source], skip_bad=skip_bad)
    return _from_list(source, skip_bad, as_vectors)


def _from_path(
    path: Path, label: int | str | None, skip_bad: bool | None, as_vectors: bool | None
) -> Opened:
    if is_npz(path):
        held = npz.read(path, as_vectors=as_vectors)
        return Opened((), held.of_label(label), skip_bad, held.unit_length)
    if label is not None:
        raise _no_label()
    if as_vectors:
        raise ImageError(f"{path}: {VECTORS_NEEDED}")
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


def measured(*sets: Opened) -> Measured:
    """Measure all pictures of `sets` together, to choose a preset. Raises ImageError.

    A file is decoded only in the first call. Bad files that may be skipped are dropped.
    """
    if any(each.vector_size is not None for each in sets):
        raise ImageError("vectors: have no size in pixels")
    new = [each for each in sets if not each.looks]
    for each, found in zip(new, _decoded(new, look_at), strict=True):
        array = each.array
        each.looks = _looks(array) if array is not None and is_pixels(array) else found
    every = [look for each in sets for look in each.looks]
    return Measured(
        _middle([look.height for look in every]),
        _middle([look.width for look in every]),
        3 if any(look.colour for look in every) else 1,
        len(every),
        3 if any(look.stored for look in every) else 1,
    )


@dataclass(frozen=True)
class _Look:
    """The facts kept of one picture. `grey` is what quality.py judges; None in an array.

    digest: of its pixels; "" in an array.
    """

    height: int
    width: int
    colour: bool
    stored: bool
    grey: Pixels | None
    digest: str = ""


def look_at(picture: Image.Image, _where: str) -> _Look:
    """Return the facts kept of one picture."""
    stored = picture.mode == "RGB"
    pixels = np.asarray(picture)
    colour = stored and files.has_colour(pixels)
    # However a grey picture is stored, it is the same one.
    digest = digest_of(pixels if colour or not stored else pixels[..., 0])
    return _Look(picture.height, picture.width, colour, stored, quality.grey(picture), digest)


def _looks(array: Pixels) -> list[_Look]:
    stored = array.ndim == 4
    colour = stored and files.has_colour(array)
    height, width = array.shape[1:3]
    return [_Look(height, width, colour, stored, None)] * len(array)


def _decoded(sets: Sequence[Opened], use: Callable[[Image.Image, str], T]) -> list[list[T]]:
    """Apply `use` to every picture of every set, and where it is.

    Raises one ImageError naming all bad files.
    """
    results, bad = tried(sets, use)
    choices = {each.skip_bad for each in sets}
    if sum(map(len, results)) + len(bad) == 1 and not any(choices):  # nothing else would be left
        choices = {None}
    what = "files" if any(each.files for each in sets) else "pictures"
    named = required_good(bad, what, skip_bad=None if None in choices else all(choices))
    if any(each.array is None and not each.pictures for each in sets):
        raise ImageError(f"no picture is left{': ' if named else ''}{named}")
    return results


def tried(
    sets: Sequence[Opened], use: Callable[[Image.Image, str], T], names: Sequence[str] = ()
) -> tuple[list[list[T]], list[str]]:
    """Apply `use` to every picture of every set. Drop those that are bad, and say why.

    names: whose each set is, to name pictures that are no files.
    """
    results: list[list[T]] = []
    bad: list[str] = []
    for at, each in enumerate(sets):
        whose = f"{names[at]}: " if names else ""
        kept, found = [], []
        for number, picture in enumerate(each.pictures):
            try:
                where = f"{whose}picture {number}"
                if isinstance(picture, Path):
                    where = str(picture)
                found.append(use(_plain(picture, where), where))
                kept.append(number)
            except ImageError as error:
                bad.append(str(error))
        each.pictures = [each.pictures[number] for number in kept]
        if each.looks:
            each.looks = [each.looks[number] for number in kept]
        results.append(found)
    return results, bad


def required_good(bad: Sequence[str], what: str, *, skip_bad: bool | None) -> str:
    """Return what `bad` says, and warn of it. Raises ImageError if it may not be left out."""
    named = "; ".join(bad[:_MOST_BAD]) + ("; ..." if len(bad) > _MOST_BAD else "")
    counted = f"{len(bad)} {what} cannot be used: " if len(bad) > 1 else ""
    if bad and not skip_bad:
        it = "them" if len(bad) > 1 else "it"
        cure = "" if skip_bad is None else f"; replace {it}, or leave {it} out with --skip-bad"
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
