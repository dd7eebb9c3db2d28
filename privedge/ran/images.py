"""Read pictures from files, and bring them to a spec's size.

Sees plaintext images: for the owner's and the client's device only. Files are not trusted: only
PNG, JPEG and WebP are read, and HEIC with the extra `heic`, up to 50 MB and 110 million pixels. Any
error of Pillow's becomes an ImageError that names the file. ran/inputs.py accepts arrays and lists
of files.
"""

import re
import struct
import threading
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from io import BufferedReader
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from privedge import extras, regular_file
from privedge.arrays import Pixels
from privedge.errors import ImageError
from privedge.ran.spec import ImageShape

# Telephones make pictures of 108 million pixels; opened they take 330 MB.
MAX_FILE_BYTES = 50 * 1000 * 1000
MAX_PIXELS = 110 * 1000 * 1000
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".webp", ".heic", ".heif"})
_HEIF = "pillow_heif"
_FORMATS = ("PNG", "JPEG", "WEBP")
# How a HEIC file begins: its size in four bytes, these four, and one of the brands.
_HEIC, _HEIC_BRANDS = b"ftyp", {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
# How files of other kinds begin that people take for pictures or vectors.
_OTHERS = {
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM.{4}\0\0\0\0", re.DOTALL),
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
    "AVIF": re.compile(rb".{4}ftypavi[fs]", re.DOTALL),
    "PDF": re.compile(rb"%PDF-"),
    "NumPy": re.compile(rb"\x93NUMPY"),
}
# Names, in lower case, of files and folders that operating systems and network drives create.
_SYSTEM = frozenset(
    {"__macosx", "system volume information", "lost+found", "thumbs.db", "desktop.ini"}
)
_SYSTEM_FIRST = (".", "@", "$")
# The errors that Pillow is known to raise for damaged files. Its own kinds are all OSError or
# ValueError.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    MemoryError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# Rows checked for colour at once. Most colour pictures show colour in their first rows.
_BAND = 64
_MOST_KINDS = 10


@dataclass(frozen=True)
class Measured:
    """Facts of a set of images: median size in pixels, channels, and count.

    channels: 3 if any image has colour, else 1.
    stored: 3 if any file has a colour format, else 1. A grey picture may be stored in colour.
    """

    height: int
    width: int
    channels: int
    count: int
    stored: int = field(default=1, compare=False)


# --- Folders --------------------------------------------------------------------------------------


def listed(folder: Path) -> list[Path]:
    """List the pictures of `folder`, by their endings, in order of name; the list may be empty.

    Leaves out hidden files, because some systems put one beside every picture. Raises ImageError if
    the folder cannot be read.
    """
    return [entry for entry in _entries(folder) if entry.suffix.lower() in _SUFFIXES]


def required(folder: Path) -> list[Path]:
    """List files as `listed` does. Raises ImageError also if there are none."""
    files = listed(folder)
    if not files:
        within = [entry.name for entry in subfolders(folder)]
        deeper = f" but folders ({_some(within)}), which are not looked into" if within else ""
        raise ImageError(f"{folder}: holds no picture (.jpg, .png, .webp or .heic){deeper}")
    return files


def no_folder(path: Path) -> ImageError:
    """Return the error for a file where a folder, or an npz, is needed."""
    return ImageError(f"{path}: is no folder and no npz; give a folder of pictures, or an .npz")


def subfolders(folder: Path) -> list[Path]:
    """List the folders in `folder` in order of name, without hidden and system folders."""
    return [entry for entry in _entries(folder) if entry.is_dir() and not is_system(entry.name)]


def is_system(name: str) -> bool:
    """Return whether the system made the file or folder of this name; true for hidden names."""
    return name.lower() in _SYSTEM or name.startswith(_SYSTEM_FIRST)


def passed_over(folder: Path, taken: Iterable[Path]) -> str | None:
    """Describe what `folder` holds besides `taken` and system files; None if there is nothing."""
    left = sorted(set(_entries(folder)).difference(taken))
    folders = [entry.name for entry in left if entry.is_dir()]
    others = [entry for entry in left if not entry.is_dir() and not is_system(entry.name)]
    endings = Counter(entry.suffix.lower() or "no ending" for entry in others)
    kinds = [f"{count} {ending}" for ending, count in sorted(endings.items())]
    said = [
        f"{count} {what}{'s' if count > 1 else ''} passed over ({_some(names)})"
        for count, what, names in (
            (endings.total(), "file", kinds if len(kinds) > 1 else list(endings)),
            (len(folders), "folder", folders),
        )
        if count
    ]
    return ", ".join(said) or None


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _MOST_KINDS else ""
    return ", ".join(names[:_MOST_KINDS]) + more


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except NotADirectoryError:
        raise no_folder(folder) from None
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read ({error.strerror})") from None


# --- Pictures -------------------------------------------------------------------------------------


def decode(file: Path) -> Image.Image:
    """Read one file as an upright picture in mode L or RGB. Raises ImageError naming the file."""
    with _reading(file):
        if regular_file.require(file).st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"{file}: larger than {MAX_FILE_BYTES // 1_000_000} MB; make it smaller"
            )
        raw = regular_file.opened(file)
    with raw, _quiet:
        formats = _formats(raw, file)
        try:
            with Image.open(raw, formats=formats) as picture:
                _require_size(picture, str(file))
                return _plain(ImageOps.exif_transpose(picture))
        except Image.DecompressionBombError:  # Pillow checks its own, higher limit first
            raise _too_large(str(file)) from None
        except DAMAGED as error:
            raise ImageError(f"{file}: {_not_sound(file, formats)}") from error


def _formats(raw: BufferedReader, file: Path) -> tuple[str, ...]:
    """Return the formats of Pillow's that may decode an open file, by its first bytes."""
    head = raw.read(12)
    raw.seek(0)
    if head[4:8] != _HEIC or head[8:12] not in _HEIC_BRANDS:
        return _FORMATS
    if not _reads_heic():
        raise ImageError(f"{file}: is a HEIC image, which needs {extras.FOR_COMMANDS[_HEIF]}")
    return ("HEIF",)


def _not_sound(file: Path, formats: tuple[str, ...]) -> str:
    """Say what is wrong with a file that none of `formats` could decode: another kind, or damaged.

    Only the first bytes are compared: nothing is decoded by a format that is not taken.
    """
    with regular_file.opened(file) as raw:
        head = raw.read(12)
    for name, begins in _OTHERS.items():
        if begins.match(head):
            how = "in an npz" if name == "NumPy" else "as PNG, JPEG or WebP"
            return f"is of the kind {name}, which is not taken; save it {how}"
    kinds = "PNG, JPEG or WebP" if formats == _FORMATS else "HEIC"
    return f"is not a sound {kinds} image"


@cache
def _reads_heic() -> bool:
    """Return whether the package of the extra `heic` is installed, and let Pillow know it."""
    try:
        from pillow_heif import register_heif_opener
    except ModuleNotFoundError:
        return False
    register_heif_opener()
    return True


def upright(picture: Image.Image, where: str) -> Image.Image:
    """Turn a picture in memory, of any mode, upright and into mode L or RGB.

    Raises ImageError naming `where`.
    """
    _require_size(picture, where)
    # Only a file says how far its wide numbers reach. convert() would clip them silently.
    if picture.mode == "F" or (picture.mode.startswith("I") and picture.format is None):
        numbers = "floats" if picture.mode == "F" else "wide whole numbers"
        raise ImageError(f"{where}: has {numbers} for pixels; give mode L or RGB, 0 to 255")
    with _quiet:
        try:
            return _plain(ImageOps.exif_transpose(picture))
        except DAMAGED as error:
            raise ImageError(f"{where}: is not a sound image") from error


def opened(path: Path) -> BufferedReader:
    """Open a file of pictures. Raises ImageError, also for a pipe or a device."""
    with _reading(path):
        return regular_file.opened(path)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the file at `path` into an ImageError."""
    try:
        yield
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: is a folder; give it alone, or its files") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ImageError(f"{path}: cannot be read ({reason})") from None


def fit(images: Pixels, shape: ImageShape) -> Pixels:
    """Bring uint8 images (n, H, W) or (n, H, W, 3) to the size and channels of `shape`.

    Returns uint8 (n, height, width), or (n, height, width, 3) for a colour `shape`.
    """
    return np.stack([to_size(Image.fromarray(image), shape) for image in images])


def to_size(picture: Image.Image, shape: ImageShape) -> Pixels:
    """Return a picture at the size of `shape`, as uint8 (H, W), or (H, W, 3) for colour.

    A picture of another aspect ratio is stretched.
    """
    picture = picture.convert("RGB" if shape.channels == 3 else "L")
    if picture.size != (shape.width, shape.height):
        picture = picture.resize((shape.width, shape.height), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.uint8)


def has_colour(pixels: Pixels) -> bool:
    """Return whether the channels of any pixel differ, in uint8 (H, W, 3) or (n, H, W, 3).

    By more than one step: WebP gives grey pictures back with such differences.
    """
    bands = (pixels[start : start + _BAND] for start in range(0, len(pixels), _BAND))
    return any((_spread(band) > 1).any() for band in bands)


def _spread(pixels: Pixels) -> Pixels:
    """Return how far the channels of each pixel differ. Five times as fast as `max` along them."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    highest = np.maximum(np.maximum(red, green), blue)
    return highest - np.minimum(np.minimum(red, green), blue)


class _Quiet:
    """Suppresses warnings inside a block.

    Pillow warns of large pictures, which are refused here, and of odd but harmless metadata. All
    threads share the filters, so the last thread to leave restores what the first one found.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = warnings.catch_warnings(action="ignore")
                self._before.__enter__()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._before.__exit__(None, None, None)


_quiet = _Quiet()


def _require_size(picture: Image.Image, where: str) -> None:
    """Check the size before anything is decoded: so far only the header has been read."""
    if picture.width * picture.height > MAX_PIXELS:
        raise _too_large(where)
    if 0 in picture.size:
        raise ImageError(f"{where}: has no pixels")


def _too_large(where: str) -> ImageError:
    return ImageError(
        f"{where}: has more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller"
    )


def _plain(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey; convert() would clip it
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    elif picture.mode in ("1", "L"):
        return picture.convert("L")
    elif picture.mode == "RGB":
        return picture
    # A grey picture may have a palette or an opacity channel; neither makes it a colour picture.
    picture = picture.convert("RGB")
    return picture if has_colour(np.asarray(picture)) else picture.convert("L")
