"""Read images from files and bring them to a spec's size.

Sees plaintext images: for the owner's and the client's device only. Files are not trusted: PNG and
JPEG only, 10 MB and 25 million pixels at most, and whatever Pillow finds wrong with one ends in an
ImageError that names it.
"""

import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from privedge.errors import ImageError
from privedge.ran.spec import ImageShape

Images = npt.NDArray[np.uint8]

MAX_FILE_BYTES = 10 * 1000 * 1000
MAX_PIXELS = 25 * 1000 * 1000
MAX_ARRAY_BYTES = 4 << 30
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
# What Pillow is known to raise for damaged files, beside its own kinds (all OSError or ValueError).
_DAMAGED = (
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


@dataclass(frozen=True)
class Measured:
    """Median size of a set of images, whether any has colour (`channels` 3), and how many."""

    height: int
    width: int
    channels: int
    count: int


def read(
    source: Path | Sequence[Path], shape: ImageShape, *, label: int | None = None
) -> npt.NDArray[np.uint8]:
    """All images of `source` at the size of `shape`: uint8 (n, H, W), or (n, H, W, 3) for colour.

    `source` is a folder of PNG and JPEG files (in order of name), a list of such files, or an npz
    with `images` (uint8, n x H x W or n x H x W x 3). An npz with `labels` needs the `label` to
    take. Pictures of another aspect are stretched. Raises ImageError naming the file.
    """
    if isinstance(source, Path) and source.suffix.lower() == ".npz":
        return fit(_read_npz(source, label), shape)
    files = _files(source, label)
    return np.stack([_to_size(_decode(file), shape) for file in files])


def measure(source: Path | Sequence[Path], *, label: int | None = None) -> Measured:
    """Sizes of the images `read` would give, to choose a preset by. Raises ImageError."""
    if isinstance(source, Path) and source.suffix.lower() == ".npz":
        images = _read_npz(source, label)
        channels = 3 if images.ndim == 4 else 1
        return Measured(images.shape[1], images.shape[2], channels, len(images))
    decoded = (_decode(file) for file in _files(source, label))
    sizes = [(*picture.size, picture.mode) for picture in decoded]
    widths, heights, modes = zip(*sizes, strict=True)
    return Measured(_middle(heights), _middle(widths), 3 if "RGB" in modes else 1, len(sizes))


def listed(folder: Path) -> list[Path]:
    """The PNG and JPEG files that `read` takes from `folder`, in order of name; maybe none.

    Hidden files are passed over: some systems leave one beside every picture.
    """
    try:
        return sorted(
            file
            for file in folder.iterdir()
            if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
        )
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read ({error.strerror})") from None


def fit(images: Images, shape: ImageShape) -> npt.NDArray[np.uint8]:
    """Bring uint8 images (n, H, W) or (n, H, W, 3) to the size and channels of `shape`."""
    return np.stack([_to_size(Image.fromarray(image), shape) for image in images])


def _middle(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]


def _to_size(picture: Image.Image, shape: ImageShape) -> Images:
    picture = picture.convert("RGB" if shape.channels == 3 else "L")
    if picture.size != (shape.width, shape.height):
        picture = picture.resize((shape.width, shape.height), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.uint8)


def _files(source: Path | Sequence[Path], label: int | None) -> Sequence[Path]:
    if label is not None:
        raise ImageError("label: only an npz with labels has one to choose")
    if not isinstance(source, Path):
        if not source:
            raise ImageError("no image files were given")
        return source
    if not source.is_dir():
        return [source]
    files = listed(source)
    if not files:
        raise ImageError(f"{source}: holds no .png, .jpg or .jpeg file")
    return files


def _decode(file: Path) -> Image.Image:
    """One file as an upright picture in mode L or RGB."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ImageError(f"{file}: larger than {MAX_FILE_BYTES // 1_000_000} MB")
        raw = file.open("rb")
    except OSError as error:
        raise ImageError(f"{file}: cannot be read ({error.strerror})") from None
    with raw, warnings.catch_warnings():
        # Pillow warns of large pictures, which are refused below, and of odd but harmless metadata.
        warnings.simplefilter("ignore")
        try:
            with Image.open(raw, formats=("PNG", "JPEG")) as picture:
                # Before anything is decoded: only the header has been read so far.
                if picture.width * picture.height > MAX_PIXELS:
                    raise _too_large(file)
                return _plain(ImageOps.exif_transpose(picture))
        except Image.DecompressionBombError:  # Pillow's own, higher limit comes first
            raise _too_large(file) from None
        except _DAMAGED as error:
            raise ImageError(f"{file}: is not a sound PNG or JPEG image") from error


def _too_large(file: Path) -> ImageError:
    return ImageError(
        f"{file}: has more than {MAX_PIXELS // 1_000_000} megapixels; make it smaller"
    )


def _plain(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16-bit grey, which convert() would clip
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
        return picture.convert("RGB")
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB")


def _read_npz(path: Path, label: int | None) -> Images:
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
                raise ImageError(f"{path}: unpacks to more than {MAX_ARRAY_BYTES >> 30} GiB")
        with np.load(path, allow_pickle=False) as arrays:
            images = np.asarray(arrays["images"])
            labels = np.asarray(arrays["labels"]) if "labels" in arrays else None
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file") from None
    except KeyError:
        raise ImageError(f"{path}: has no array called images") from None
    except (*_DAMAGED, zipfile.BadZipFile) as error:
        raise ImageError(f"{path}: is not a sound npz file without pickles") from error
    return _chosen(path, _checked(path, images), labels, label)


def _checked(path: Path, images: npt.NDArray[np.generic]) -> Images:
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    grey_or_rgb = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not grey_or_rgb or 0 in images.shape:
        raise ImageError(
            f"{path}: images must be uint8 of shape (n, H, W) or (n, H, W, 3), "
            f"got {images.dtype} {images.shape}"
        )
    return images.astype(np.uint8, copy=False)


def _chosen(
    path: Path, images: Images, labels: npt.NDArray[np.generic] | None, label: int | None
) -> Images:
    if labels is None:
        if label is not None:
            raise ImageError(f"{path}: has no labels to choose {label} from")
        return images
    if label is None:
        raise ImageError(f"{path}: has labels; choose one with --label")
    if labels.shape != images.shape[:1]:
        raise ImageError(f"{path}: has {len(images)} images but labels of shape {labels.shape}")
    mine: Images = images[labels == label]
    if not len(mine):
        raise ImageError(f"{path}: has no image with label {label}")
    return mine
