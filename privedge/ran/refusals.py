"""Say of what cannot be taken for pictures what it is, and how to convert it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from privedge.errors import ImageError

_CURES = {
    "torch": "images.detach().cpu().numpy()",
    "bytes": "Image.open(io.BytesIO(images))",
    "bytearray": "Image.open(io.BytesIO(images))",
    "generator": "list(images)",
}


def plain(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return an array of a subclass, such as np.matrix, as an array of numpy's own rules.

    Raises ImageError for a masked one, some of whose values are missing.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise ImageError(
            "images: some values of a masked array are missing; fill them, or leave out what they "
            "are in: images = images.filled(...)"
        )
    return np.asarray(array)


def stacked(arrays: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    """Join arrays of one type and one shape. Raises ImageError for others."""
    arrays = [plain(each) for each in arrays]
    kinds = sorted({f"{each.dtype} {each.shape}" for each in arrays})
    if len(kinds) > 1:
        raise ImageError(
            f"images: arrays in a list must have one type and one shape, got {', '.join(kinds[:4])}"
            ": images = [Image.fromarray(image) for image in images]"
        )
    if arrays[0].ndim > 3 or (arrays[0].ndim == 3 and arrays[0].shape[2] not in (1, 3)):
        raise ImageError(
            f"images: a list of batches, each {kinds[0]}: images = np.concatenate(images)"
        )
    return np.stack(arrays)


def refused(source: object, what: str) -> ImageError:
    """Return the error for `source`, which the caller calls `what`."""
    kind = type(source)
    package = kind.__module__.partition(".")[0]
    facts = [str(getattr(source, name)) for name in ("dtype", "shape") if hasattr(source, name)]
    cure = _CURES.get(package) or _CURES.get(kind.__name__)
    if isinstance(source, np.ndarray):  # one array among files
        cure = "Image.fromarray(images)"
    if cure is None and hasattr(source, "__array__"):
        cure = "np.asarray(images)"
    if cure is None and hasattr(source, "read"):
        cure = "Image.open(images)"
    described = " ".join([f"{package}.{kind.__name__}".removeprefix("builtins."), *facts])
    line = f": {what} = {cure.replace('images', what)}" if cure else ""
    return ImageError(
        f"{what}: must be a file, a Pillow image, a list of these or a uint8 array, "
        f"got {described}{line}"
    )
