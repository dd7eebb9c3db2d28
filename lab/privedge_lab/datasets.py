"""Labelled sets for experiments: an npz without pickles or a folder, split into two parts.

Sees plaintext images and vectors. An npz holds `images` (uint8, n x H x W or n x H x W x 3) or
`vectors` (float32 or float64, n x D), and `labels`, as for `privedge train-all`. It may hold
`label_names` (one string per class) and further arrays of one value per image (`gender`,
`document`, `is_test`, ...).

A folder holds one folder for each class, with pictures in it, and is read as `privedge train-all`
reads it. Classes are numbered in order of their folders' names. If all files are one level deeper,
the folders between become the fact `group`, numbered in order of name over all classes. Every image
is scaled to the median height and the median width of all, as `privedge train` does. If the longer
of these is more than SIDE pixels, it becomes SIDE, and the proportions are kept.
"""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from privedge import regular_file
from privedge.arrays import Pixels
from privedge.errors import ImageError
from privedge.progress import Progress
from privedge.ran import images as files
from privedge.ran import inputs, npz, pixels, sets, vectors
from privedge.ran.alignment import Aligner
from privedge.ran.images import Measured
from privedge.ran.spec import ImageShape

log = logging.getLogger(__name__)

# No preset accepts more, and a set of photographs at full size would fill the memory.
SIDE = 128
_LEAST_SIDE = 8

_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Labelled:
    """Images float32 (n, C, H, W) in [0, 1], labels int64 (n,), and facts of n values each.

    Of a set of vectors, `images` are these: float64 (n, D). Of a regression, `labels` are the
    values to predict: float32 (n,).

    `names[label]` is the name of a class; `names` is empty if the set has none.
    """

    images: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    facts: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)
    names: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def of_vectors(self) -> bool:
        """Whether these are vectors, and not images."""
        return self.images.ndim == 2

    @property
    def classes(self) -> int:
        """The number of classes: one more than the largest label."""
        return int(self.labels.max()) + 1

    def take(self, index: torch.Tensor) -> "Labelled":
        """Return the images at `index` (int64 positions or a bool mask), in its order."""
        facts = {name: values[index] for name, values in self.facts.items()}
        return replace(self, images=self.images[index], labels=self.labels[index], facts=facts)


def _tensor(inputs: npt.NDArray[np.generic], where: str) -> torch.Tensor:
    """Return `Labelled.images`."""
    if vectors.is_like(inputs):
        return torch.from_numpy(vectors.checked(inputs, where))
    images = pixels.checked(inputs, where)
    channelled = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(channelled)).float() / 255


@dataclass(frozen=True)
class TrainTest:
    """Disjoint parts of one set, each in random order."""

    train: Labelled
    test: Labelled


def read(path: Path, *, or_vectors: bool = False, skip_bad: bool | None = None) -> Labelled:
    """Read the set in the npz or folder at `path`, in its own order. Raises ImageError.

    A folder's order is that of the names of classes, groups and files. Warns of what is passed
    over.

    or_vectors: whether a set of vectors is accepted as well.
    skip_bad: whether files that cannot be read are left out; None if the caller has no choice.
    """
    if path.is_dir():
        return _read_folder(path, skip_bad)[0]
    found = npz.arrays_of(path)
    kind = npz.kind(path, [*found], as_vectors=None if or_vectors else False)
    if "labels" not in found:
        raise ImageError(f"{path}: has no array called labels")
    return from_arrays(found.pop(kind), found.pop("labels"), found, where=str(path))


@dataclass(frozen=True)
class Cut:
    """A set whose faces are cut out, and why images of it were left out, by one line each."""

    data: Labelled
    left_out: tuple[str, ...]


def faces_of(
    path: Path,
    aligner: Aligner,
    shape: ImageShape,
    progress: Progress,
    *,
    skip_bad: bool | None = None,
) -> Cut:
    """Read the set at `path`, and cut the face out of each image as it is stored.

    Images without the one face that is wanted are left out. skip_bad: as for `read`. Raises
    ImageError, also if none is left.
    """
    pictures: Sequence[Path | Image.Image]
    if path.is_dir():  # the images of `whole` have one size, and so are stretched
        whole, pictures = _read_folder(path, skip_bad)
    else:
        whole = read(path)
        values = (whole.images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        pictures = [Image.fromarray(each.squeeze()) for each in values]
    chips, kept, left_out = [], [], []
    for number, picture in enumerate(pictures):
        progress("find faces", number, len(pictures))
        where = str(picture) if isinstance(picture, Path) else f"{path}: image {number}"
        try:
            upright = files.decode(picture) if isinstance(picture, Path) else picture
            chips.append(aligner.cut(upright, shape, where))
            kept.append(number)
        except ImageError as error:
            left_out.append(str(error))
    if not kept:
        raise ImageError(f"{path}: no face was found in any of its {len(pictures)} images")
    found = whole.take(torch.tensor(kept))
    return Cut(replace(found, images=_scaled(np.stack(chips))), tuple(left_out))


def digest(path: Path) -> str:
    """Return the SHA-256, in hexadecimal, of what `read` reads. Raises ImageError.

    It covers a file's bytes, or a folder's image files and their names.
    """
    try:
        if not path.is_dir():
            return hashlib.sha256(regular_file.read(path)).hexdigest()
        whole = hashlib.sha256()
        for classes in _listed(path).values():
            for file in classes:
                name = os.fsencode(file.relative_to(path))
                content = hashlib.sha256(regular_file.read(file)).digest()
                whole.update(hashlib.sha256(name).digest() + content)
        return whole.hexdigest()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({error.strerror})") from None


def from_arrays(
    images: npt.NDArray[np.generic],
    labels: npt.NDArray[np.generic],
    further: dict[str, npt.NDArray[np.generic]] | None = None,
    *,
    where: str = "images",
) -> Labelled:
    """Make a set of uint8 images (n, H, W) or (n, H, W, 3), or of vectors, float32 or float64
    (n, D), and of labels (n,), numbers or strings.

    What is no whole number from 0 on becomes a name, as for `privedge train-all`, and is numbered
    in order. Numeric arrays of n values in `further` become facts. Its `label_names` become names
    if they are strings, one per class. Raises ImageError.
    """
    scaled = _tensor(images, where)
    further = dict(further or {})
    what = npz.VECTORS if scaled.ndim == 2 else npz.IMAGES
    labels = npz.checked_labels(labels, len(scaled), where, what)
    if labels.dtype.kind == "U":  # they are names themselves
        owners, labels = np.unique(labels, return_inverse=True)
        further["label_names"] = np.array([str(owner) for owner in owners])
    facts = {
        name: torch.from_numpy(values.astype(np.int64))
        for name, values in further.items()
        if values.shape == labels.shape and values.dtype.kind in "biu"
    }
    names = further.get("label_names", np.zeros(0))
    named = names.ndim == 1 and names.dtype.kind == "U" and len(names) > labels.max()
    return Labelled(
        scaled,
        torch.from_numpy(labels.astype(np.int64)),
        facts,
        tuple(map(str, names)) if named else (),
    )


def _scaled(images: Pixels) -> torch.Tensor:
    channelled = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(channelled)).float() / 255


def split(
    data: Labelled, *, seed: int, test_share: float = _TEST_SHARE, group: str | None = None
) -> TrainTest:
    """Split by the set's own `is_test`, else at random by `seed` within each class.

    With `group` (a fact's name, such as `document`), no group has images in both parts, and about
    `test_share` of each class's groups are for testing. Raises ImageError for an unknown `group`.
    """
    if group is not None and group not in data.facts:
        raise ImageError(f"{group}: the set has no such fact; it has {', '.join(data.facts)}")
    rng = np.random.default_rng(seed)
    if group is None and "is_test" in data.facts:
        testing = data.facts["is_test"].numpy().astype(bool)
    else:
        keys = np.arange(len(data)) if group is None else data.facts[group].numpy()
        testing = _drawn(data.labels.numpy(), keys, test_share, rng)
    order = rng.permutation(len(data))
    return TrainTest(
        train=data.take(torch.from_numpy(order[~testing[order]])),
        test=data.take(torch.from_numpy(order[testing[order]])),
    )


def _drawn(
    labels: npt.NDArray[np.int64],
    keys: npt.NDArray[np.int64],
    share: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    testing = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = labels == label
        groups = rng.permutation(np.unique(keys[mine]))
        chosen = groups[: max(1, round(len(groups) * share))]
        testing |= mine & np.isin(keys, chosen)
    return testing


# --- Folders -------------------------------------------------------------------------------------


def _read_folder(path: Path, skip_bad: bool | None) -> tuple[Labelled, list[Path]]:
    """The set, and the file of each image."""
    nested = _nested(path)
    if nested:
        _tell_of_others(path, nested)
        opened = {
            folder.name: inputs.opened(found, skip_bad=skip_bad) for folder, found in nested.items()
        }
    else:
        opened = sets.in_folders(path, skip_bad=skip_bad).found
    shape = _shape(inputs.measured(*opened.values()))  # drops those that are left out
    opened = {name: each for name, each in opened.items() if each.files}
    found = [file for each in opened.values() for file in each.files]
    images = np.concatenate(inputs.at_one_size([*opened.values()], shape))
    labels = np.repeat(np.arange(len(opened)), [len(each.files) for each in opened.values()])
    facts = {"label_names": np.array([*opened])}
    if nested:
        groups = [file.parent.name for file in found]
        facts |= {"group": np.unique(groups, return_inverse=True)[1]}
    return from_arrays(images, labels, facts, where=str(path)), found


def _tell_of_others(path: Path, nested: Mapping[Path, Sequence[Path]]) -> None:
    """Warn of what lies beside the classes, beside their groups, and beside the images of these."""
    taken = {path: [*nested]} | {folder: files.subfolders(folder) for folder in nested}
    for group in dict.fromkeys(file.parent for found in nested.values() for file in found):
        taken[group] = files.listed(group)
    for place, used in taken.items():
        if left := files.passed_over(place, used):
            log.warning("%s: %s", place, left)


def _nested(path: Path) -> dict[Path, list[Path]]:
    """The images of each class if all are one level deeper than a class's folder; else nothing."""
    folders = files.subfolders(path)
    if any(files.listed(folder) for folder in folders):
        return {}
    found = {
        folder: [file for group in files.subfolders(folder) for file in files.listed(group)]
        for folder in folders
    }
    return {folder: deeper for folder, deeper in found.items() if deeper}


def _listed(path: Path) -> dict[Path, list[Path]]:
    """The image files of every class, all in order of name."""
    return _nested(path) or {folder: files.listed(folder) for folder in files.subfolders(path)}


def _shape(size: Measured) -> ImageShape:
    by = min(1.0, SIDE / max(size.height, size.width))
    height, width = (max(_LEAST_SIDE, round(side * by)) for side in (size.height, size.width))
    return ImageShape(height=height, width=width, channels=3 if size.stored == 3 else 1)
