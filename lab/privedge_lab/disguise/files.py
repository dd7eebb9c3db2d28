"""A disguised data set as one npz without pickles.

    disguised  float32 (n, C, H', W'): values of any sign and size, so this is not a picture
    settings   the public part of the key, as JSON text: kind of disguise and size of the originals
    key        the public identity of the key
    labels     int64 (n,), and facts of n integers each, as in the original set

Labels and facts are not hidden. Remove from the original set what the server must not learn.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from privedge import private_file
from privedge.errors import ImageError
from privedge.ran import npz
from privedge_lab.datasets import Labelled
from privedge_lab.disguise.blocks import grid
from privedge_lab.disguise.settings import Sized

_OURS = ("disguised", "settings", "key", "labels")


@dataclass(frozen=True)
class DisguisedSet:
    """Disguised images with labels and facts, the kind of disguise, and the key's identity."""

    data: Labelled
    sized: Sized
    key_identity: str


def write(disguised: DisguisedSet, path: Path) -> None:
    """Write the set to `path`, completely or not at all.

    Its mode is 0600 until its owner changes it. Raises CheckpointError if it cannot be written.
    """
    data = disguised.data
    buffer = io.BytesIO()
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "disguised": data.images.float().numpy(),
        "labels": data.labels.numpy(),
        "settings": np.array(disguised.sized.model_dump_json()),
        "key": np.array(disguised.key_identity),
    }
    arrays |= {name: fact.numpy() for name, fact in data.facts.items() if name not in _OURS}
    np.savez(buffer, allow_pickle=False, **arrays)
    private_file.write(path, buffer.getvalue())


def read(path: Path) -> DisguisedSet:
    """Read the set in the npz at `path`. Raises ImageError, which says what is wrong."""
    found = npz.arrays_of(path)
    for name in _OURS:
        if name not in found:
            raise ImageError(
                f"{path}: has no array called {name}; make it with `privedge split disguise apply`"
            )
    images, labels = found["disguised"], found["labels"]
    try:
        sized = Sized.model_validate_json(str(found["settings"]))
    except ValidationError:
        raise ImageError(f"{path}: its settings are not those of a disguise") from None
    if images.dtype != np.float32 or images.ndim != 4 or images.shape[1:] != grid(sized).disguised:
        raise ImageError(
            f"{path}: disguised must be float32 (n, {', '.join(map(str, grid(sized).disguised))})"
        )
    if not len(images) or not np.isfinite(images).all():
        raise ImageError(f"{path}: disguised is empty or has values that are not finite")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ImageError(f"{path}: labels must be {len(images)} integers from 0 on")
    facts = {
        name: torch.from_numpy(values.astype(np.int64))
        for name, values in found.items()
        if name not in _OURS and values.shape == labels.shape and values.dtype.kind in "biu"
    }
    data = Labelled(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)), facts)
    return DisguisedSet(data, sized, str(found["key"]))
