"""Find what each of several owners has: one folder, or one label of an npz, is one owner.

Sees plaintext pictures and vectors of all of them: for one device that holds them all. One error
names every bad file of every owner. What is left out with their leave is named in a warning, and
owners who have nothing left are told apart from those who are trained.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from privedge.arrays import Pixels
from privedge.errors import ImageError
from privedge.progress import Progress
from privedge.ran import images as files
from privedge.ran import npz
from privedge.ran.alignment import Aligner
from privedge.ran.inputs import (
    VECTORS_NEEDED,
    Opened,
    is_npz,
    look_at,
    opened,
    required_good,
    tried,
)
from privedge.ran.spec import ImageShape

log = logging.getLogger(__name__)

_NOTHING_LEFT = "none of the pictures can be used"


@dataclass(frozen=True)
class Sets:
    """What each owner has, and who is left out.

    found: the pictures or vectors of each owner, by name.
    left_out: why, for each owner of whom nothing can be used, by name; only if that is allowed.
    """

    found: dict[str, Opened]
    left_out: dict[str, str] = field(default_factory=dict)

    def without(self, others: Mapping[str, str]) -> "Sets":
        """Return the same without further owners, of whom `others` says why."""
        kept = {name: given for name, given in self.found.items() if name not in others}
        return Sets(kept, {**self.left_out, **others})


def by_owner(place: Path, *, skip_bad: bool, as_vectors: bool | None = None) -> Sets:
    """Find what each owner has, by the owner's name: that of a folder in `place`, or a label of an
    npz.

    as_vectors: as for `inputs.opened`.

    Raises ImageError, and warns, as `in_folders` does.
    """
    if is_npz(place):
        held = npz.read(place, as_vectors=as_vectors)
        says = held.unit_length
        labels = held.by_label().items()
        return Sets({label: Opened((), inputs, skip_bad, says) for label, inputs in labels})
    if as_vectors:
        raise ImageError(f"{place}: {VECTORS_NEEDED}")
    return in_folders(place, skip_bad=skip_bad)


def in_folders(folder: Path, *, skip_bad: bool | None) -> Sets:
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
    sets, unusable = _each_opened(found, skip_bad)
    bad = [*unusable.values()]
    what = "files and folders" if bad else "files"
    looks, bad_files = tried([*sets.values()], look_at)
    named = required_good([*bad, *bad_files], what, skip_bad=skip_bad)
    for pictures, seen in zip(sets.values(), looks, strict=True):
        pictures.looks = seen
    empty = {name: _NOTHING_LEFT for name, pictures in sets.items() if not pictures.pictures}
    return _required(Sets(sets, unusable).without(empty), named)


def _each_opened(
    folders: Sequence[Path], skip_bad: bool | None
) -> tuple[dict[str, Opened], dict[str, str]]:
    """Open each folder. Leave out those that cannot be used, and say why."""
    sets, bad = {}, {}
    for folder in folders:
        try:
            sets[folder.name] = opened(folder, skip_bad=skip_bad)
        except ImageError as error:
            bad[folder.name] = str(error)
    return sets, bad


def faces_of(
    sets: Sets, shape: ImageShape, aligner: Aligner, progress: Progress
) -> tuple[Sets, dict[str, Pixels]]:
    """Return the faces of each owner, uint8 (n, H, W) or (n, H, W, 3), at the size of `shape`.

    Raises one ImageError that names all pictures without the one face that is wanted. If they may
    be left out, owners without any other picture are left out too.
    """
    given = {name: each.one_by_one for name, each in sets.found.items()}
    total, done = sum(len(each.pictures) for each in given.values()), count(1)

    def cut(picture: Image.Image, where: str) -> Pixels:
        progress("find faces", next(done), total)
        return aligner.cut(picture, shape, where)

    progress("find faces", 0, total)
    found, bad = tried([*given.values()], cut, names=[*given])
    named = required_good(bad, "files", skip_bad=all(each.skip_bad for each in given.values()))
    faces = {name: np.stack(some) for name, some in zip(given, found, strict=True) if some}
    empty = {name: _NOTHING_LEFT for name in given if name not in faces}
    return _required(sets.without(empty), named), faces


def _required(sets: Sets, named: str) -> Sets:
    """Raise ImageError if nobody is left, with what `named` says. Warn of owners left out."""
    if not sets.found:
        raise ImageError(f"no picture is left: {named}")
    return sets
