"""The one way in for pictures, whatever a person has them in: files, folders, Pillow's or arrays.

    given(source, shape)        the pictures at the size of `shape`, uint8 (n, H, W[, 3])
    opened(source)              what was given, to be measured before its size is chosen

Sees plaintext images: for the owner's and the client's device only. What is not a picture ends in
an ImageError with the cure, and files that cannot be used are named all at once.
"""

import logging
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from privedge.arrays import Pixels
from privedge.config import StrPath
from privedge.errors import ImageError
from privedge.ran import images as files
from privedge.ran import pixels
from privedge.ran.images import Measured
from privedge.ran.spec import ImageShape

log = logging.getLogger(__name__)

# An array is uint8 (n, H, W) or (n, H, W, 3), or one picture: pixels.checked has the rules.
Picture = StrPath | Image.Image
Pictures = Picture | Sequence[Picture] | Sequence[Pixels] | Pixels

T = TypeVar("T")

_MOST_BAD = 20
_CURES = {
    "torch": "images.cpu().numpy()",
    "bytes": "Image.open(io.BytesIO(images))",
    "bytearray": "Image.open(io.BytesIO(images))",
    "generator": "list(images)",
}


@dataclass
class Opened:
    """Pictures that were given: either files still to be decoded, or an array.

    skip_bad: whether files that cannot be decoded are left out; None where nobody can choose.
    """

    pictures: Sequence[Path | Image.Image]
    array: Pixels | None = field(default=None, repr=False)
    skip_bad: bool | None = None
    _looks: "list[_Look]" = field(default_factory=list, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of the pictures that are files."""
        return tuple(each for each in self.pictures if isinstance(each, Path))

    @property
    def alike(self) -> bool:
        """Whether these are several pictures and all the same; known once they are measured."""
        return len(self._looks) > 1 and len(set(self._looks)) == 1

    def at(self, shape: ImageShape) -> Pixels:
        """The pictures at the size and channels of `shape`; other aspects are stretched."""
        if self.array is not None:
            return files.fit(self.array, shape)
        (found,) = _decoded([self], lambda picture: files.to_size(picture, shape))
        return np.stack(found)


def given(source: Pictures, shape: ImageShape, *, label: int | str | None = None) -> Pixels:
    """All pictures of `source` at the size of `shape`: uint8 (n, H, W), or (n, H, W, 3) for colour.

    source: a PNG or JPEG file, a folder of such files (in order of name), an npz with `images`
        (and `labels`, of which `label` is taken), a picture of Pillow's, a list of files and such
        pictures, or an array as `pixels.checked` has it.

    Raises ImageError for whatever cannot be used, with what to do about it.
    """
    return opened(source, label=label).at(shape)


def opened(
    source: Pictures, *, label: int | str | None = None, skip_bad: bool | None = None
) -> Opened:
    """What `given` takes, before it is decoded. Raises ImageError; warns of files passed over."""
    if isinstance(source, str | os.PathLike):
        return _from_path(Path(source), label, skip_bad)
    if label is not None:
        raise _no_label()
    if isinstance(source, np.ndarray):
        return Opened((), pixels.checked(source))
    if isinstance(source, Image.Image):
        return Opened([source])
    return _from_list(source, skip_bad)


def _from_path(path: Path, label: int | str | None, skip_bad: bool | None) -> Opened:
    if path.suffix.lower() == ".npz":
        return Opened((), pixels.read_npz(path, label))
    if label is not None:
        raise _no_label()
    return Opened(in_folder(path), skip_bad=skip_bad)


def _from_list(source: object, skip_bad: bool | None) -> Opened:
    if not isinstance(source, Sequence) or isinstance(source, bytes | bytearray | memoryview):
        raise _refused(source, "images")
    if not source:
        raise ImageError("images: none were given")
    if all(isinstance(each, np.ndarray) for each in source):
        return Opened((), pixels.checked(_stacked(source)))
    return Opened([_one(each, number) for number, each in enumerate(source)], skip_bad=skip_bad)


def _no_label() -> ImageError:
    return ImageError("label: only an npz with labels has one to choose")


def in_folder(path: Path) -> list[Path]:
    """The pictures of a folder, or `path` itself if it is none. Warns of files passed over."""
    if not path.is_dir():
        return [path]
    found = files.required(path)
    if left := files.passed_over(path, found):
        log.warning("%s: %s", path, left)
    return found


def in_folders(folder: Path, *, skip_bad: bool) -> dict[Path, Opened]:
    """The pictures of each folder in `folder`, measured, in order of name.

    Raises ImageError, which names all bad files of all folders. Warns of what is passed over, left
    out, or the same picture many times.
    """
    found = files.subfolders(folder)
    if not found:
        raise ImageError(f"{folder}: holds no folders; put each owner's images in one of its own")
    if left := files.passed_over(folder, found):
        log.warning("%s: %s", folder, left)
    sets = {each: opened(each, skip_bad=skip_bad) for each in found}
    measured(*sets.values())
    for each, pictures in sets.items():
        if pictures.alike:
            _say_same(each.name, len(pictures.pictures))
    return sets


def measured(*sets: Opened) -> Measured:
    """Sizes of all pictures together, to choose a preset by. Raises ImageError.

    Files are decoded once, however often this is asked, and those that may be skipped are dropped.
    """
    new = [each for each in sets if not each._looks]
    for each, found in zip(new, _decoded(new, _look), strict=True):
        each._looks = found if each.array is None else _looks(each.array)
    every = [look for each in sets for look in each._looks]
    return Measured(
        _middle([look.height for look in every]),
        _middle([look.width for look in every]),
        3 if any(look.colour for look in every) else 1,
        len(every),
        3 if any(look.stored for look in every) else 1,
    )


def warn_if_same(images: Pixels, whose: str) -> None:
    """Of one picture alone a model learns nothing that it has in common with others."""
    if len(images) > 1 and (images == images[:1]).all():
        _say_same(whose, len(images))


def _say_same(whose: str, count: int) -> None:
    log.warning("%s: all %d pictures are the same; add others", whose, count)


@dataclass(frozen=True)
class _Look:
    """What is remembered of one picture: equal pictures look equal."""

    height: int
    width: int
    colour: bool
    stored: bool
    checksum: int


def _look(picture: Image.Image) -> _Look:
    stored = picture.mode == "RGB"
    colour = stored and files.has_colour(np.asarray(picture))
    checksum = zlib.crc32(picture.tobytes())
    return _Look(picture.height, picture.width, colour, stored, checksum)


def _looks(array: Pixels) -> list[_Look]:
    stored = array.ndim == 4
    colour = stored and files.has_colour(array)
    height, width = array.shape[1:3]
    return [_Look(height, width, colour, stored, zlib.crc32(each.tobytes())) for each in array]


def _decoded(sets: Sequence[Opened], use: Callable[[Image.Image], T]) -> list[list[T]]:
    """`use` of every picture of every set. Raises one ImageError that names all bad files."""
    results: list[list[T]] = []
    bad: list[str] = []
    for each in sets:
        kept, found = [], []
        for number, picture in enumerate(each.pictures):
            try:
                found.append(use(_plain(picture, number)))
                kept.append(picture)
            except ImageError as error:
                bad.append(str(error))
        each.pictures = kept
        results.append(found)
    _judge(bad, sets)
    return results


def _judge(bad: Sequence[str], sets: Sequence[Opened]) -> None:
    """Whether one can go on without the files that `bad` describes."""
    named = "; ".join(bad[:_MOST_BAD]) + ("; ..." if len(bad) > _MOST_BAD else "")
    counted = f"{len(bad)} files cannot be used: " if len(bad) > 1 else ""
    if bad and not all(each.skip_bad for each in sets):
        optional = all(each.skip_bad is not None for each in sets)
        cure = "; mend them, or leave them out with --skip-bad" if optional else ""
        raise ImageError(f"{counted}{named}{cure}")
    if bad:
        log.warning("left out: %s", named)
    if any(each.array is None and not each.pictures for each in sets):
        raise ImageError(f"no picture is left{': ' if named else ''}{named}")


def _plain(picture: Path | Image.Image, number: int) -> Image.Image:
    if isinstance(picture, Path):
        return files.decode(picture)
    return files.upright(picture, f"picture {number}")


def _one(each: object, number: int) -> Path | Image.Image:
    if isinstance(each, str | os.PathLike):
        return Path(each)
    if isinstance(each, Image.Image):
        return each
    raise _refused(each, f"images[{number}]")


def _stacked(arrays: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    kinds = sorted({f"{each.dtype} {each.shape}" for each in arrays})
    if len(kinds) > 1:
        raise ImageError(
            f"images: arrays in a list must have one type and one shape, got {', '.join(kinds[:4])}"
            ": images = [Image.fromarray(image) for image in images]"
        )
    return np.stack(arrays)


def _refused(source: object, what: str) -> ImageError:
    kind = type(source)
    package = kind.__module__.partition(".")[0]
    facts = [str(getattr(source, name)) for name in ("dtype", "shape") if hasattr(source, name)]
    cure = _CURES.get(package) or _CURES.get(kind.__name__)
    if cure is None and hasattr(source, "__array__"):
        cure = "np.asarray(images)"
    if cure is None and hasattr(source, "read"):
        cure = "Image.open(images)"
    described = " ".join([f"{package}.{kind.__name__}".removeprefix("builtins."), *facts])
    line = f": {what} = {cure.replace('images', what)}" if cure else ""
    return ImageError(
        f"{what}: must be a file, a picture of Pillow's, a list of these or a uint8 array, "
        f"got {described}{line}"
    )


def _middle(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]
