"""Labelled image sets for experiments: an npz without pickles, split into training and test.

Sees plaintext images. An npz holds `images` (uint8, n x H x W or n x H x W x 3) and `labels`
(int64), and may hold further arrays of one value an image (`gender`, `document`, `is_test`, ...).
"""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from privedge.errors import ImageError

_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Labelled:
    """Images float32 (n, C, H, W) in [0, 1], labels int64 (n,), and facts of n values each."""

    images: torch.Tensor = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    facts: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> int:
        """One more than the largest label."""
        return int(self.labels.max()) + 1

    def take(self, index: torch.Tensor) -> "Labelled":
        """The images of `index` (int64 positions or a bool mask), in its order."""
        facts = {name: values[index] for name, values in self.facts.items()}
        return Labelled(self.images[index], self.labels[index], facts)


@dataclass(frozen=True)
class Split:
    """Disjoint parts of one set, each in random order."""

    train: Labelled
    test: Labelled


def read(path: Path) -> Labelled:
    """The set in the npz at `path`, in its own order. Raises ImageError naming what is wrong."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in arrays.files}
    except FileNotFoundError:
        raise ImageError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ImageError(f"{path}: is not a sound npz file without pickles") from error
    for name in ("images", "labels"):
        if name not in found:
            raise ImageError(f"{path}: has no array called {name}")
    return from_arrays(found.pop("images"), found.pop("labels"), found, where=str(path))


def from_arrays(
    images: npt.NDArray[np.generic],
    labels: npt.NDArray[np.generic],
    further: dict[str, npt.NDArray[np.generic]] | None = None,
    *,
    where: str = "images",
) -> Labelled:
    """uint8 images (n, H, W) or (n, H, W, 3) and integer labels (n,) as one set.

    Of `further`, the numeric arrays of n values are kept as facts. Raises ImageError.
    """
    shaped = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    if images.dtype != np.uint8 or not shaped or 0 in images.shape:
        raise ImageError(
            f"{where}: images must be uint8 of shape (n, H, W) or (n, H, W, 3), "
            f"got {images.dtype} {images.shape}"
        )
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ImageError(f"{where}: labels must be {len(images)} integers")
    if labels.min() < 0:
        raise ImageError(f"{where}: a label is negative")
    facts = {
        name: torch.from_numpy(values.astype(np.int64))
        for name, values in (further or {}).items()
        if values.shape == labels.shape and values.dtype.kind in "biu"
    }
    channelled = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    pixels = torch.from_numpy(np.ascontiguousarray(channelled)).float() / 255
    return Labelled(pixels, torch.from_numpy(labels.astype(np.int64)), facts)


def split(
    data: Labelled, *, seed: int, test_share: float = _TEST_SHARE, group: str | None = None
) -> Split:
    """Training and test part by the set's own `is_test`, else drawn by `seed` within each class.

    With `group` (a fact's name, such as `document`) no group has images in both parts: about
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
    return Split(
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
