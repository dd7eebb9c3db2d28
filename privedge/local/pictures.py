"""Read a folder of folders of pictures: find the owners, the usable pictures and the rest.

Sees all owners' pictures: for one device that holds them all. Each folder is one owner; its
pictures are directly in it. All problems are reported together, so a user can fix them at once.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_high

from privedge.arrays import Pixels, Vectors
from privedge.errors import ImageError
from privedge.identity.names import mapped, owner_names
from privedge.progress import Progress
from privedge.ran import images, quality
from privedge.ran.alignment import Aligner
from privedge.ran.images import Measured, is_system, no_folder
from privedge.ran.inputs import measured, opened
from privedge.ran.quality import Flaw
from privedge.user.own_images import HELD_OUT_FROM

# At most this many of a kind are named; the others are only counted.
_NAMED = 8


@dataclass(frozen=True)
class Owner:
    """One owner's usable pictures, or vectors. `digest` identifies their content and order.

    folder: the folder of the pictures, or the npz of the vectors.
    vectors: float64 (n, D); None if the owner has pictures.
    greys: what quality.py judges of each file; None for one that was known and not decoded.
    """

    name: str
    folder: Path
    files: tuple[Path, ...] = field(repr=False)
    digest: str
    vectors: Vectors | None = field(default=None, repr=False)
    greys: tuple[Pixels | None, ...] = field(default=(), repr=False, compare=False)

    @property
    def count(self) -> int:
        """How many pictures or vectors there are."""
        return len(self.files if self.vectors is None else self.vectors)

    @property
    def any_one(self) -> Path | Vectors:
        """One picture or vector."""
        return self.files[0] if self.vectors is None else self.vectors[0]

    def flaws(self) -> list[Flaw]:
        """Return what is wrong with them. Decodes pictures without a grey."""
        if self.vectors is not None:
            return quality.of_vectors(self.vectors)
        known = self.greys or (None,) * len(self.files)
        judged = [
            opened([file]).greys[0] if small is None else small
            for file, small in zip(self.files, known, strict=True)
        ]
        return quality.of_own(judged, [file.name for file in self.files])


@dataclass(frozen=True)
class Pictures:
    """All owners and their pictures or vectors.

    owners: in order of the folders' names.
    size: the median size of all pictures together.
    grey: how many of the pictures are grey.
    notes: remarks for people to read.
    sizes: each picture's size, by the SHA-256 of its file.
    pixels: the digest of each picture as it is decoded, by the same.
    shared: for each owner concerned, what another owner has too.
    unit_length: what the file of vectors says of it; None if it says nothing.
    """

    owners: tuple[Owner, ...]
    size: Measured
    grey: int
    notes: tuple[str, ...]
    sizes: Mapping[str, Measured] = field(repr=False)
    pixels: Mapping[str, str] = field(default_factory=dict, repr=False)
    shared: Mapping[str, Sequence[Flaw]] = field(default_factory=dict, repr=False)
    unit_length: bool | None = None

    @property
    def vector_size(self) -> int | None:
        """How many values each vector has; None for pictures."""
        vectors = self.owners[0].vectors
        return None if vectors is None else vectors.shape[1]


@dataclass(frozen=True)
class _Picture:
    """A usable picture; `digest` is the SHA-256 of its file, and of how its face is cut out;
    `grey` as for Owner; `pixels` is the digest of what is decoded.
    """

    file: Path
    digest: str
    size: Measured
    grey: Pixels | None
    pixels: str


@dataclass(frozen=True)
class _Folder:
    """The files of one folder: usable pictures, damaged ones with the reason, and others."""

    path: Path
    sound: tuple[_Picture, ...]
    damaged: tuple[str, ...]
    others: tuple[str, ...]


def look(
    folder: Path,
    *,
    beside: Path,
    known: Mapping[str, tuple[Measured, str]],
    progress: Progress,
    aligner: Aligner | None = None,
) -> Pictures:
    """Find all owners in `folder`, and measure their pictures.

    beside: the home folder; it and the folders that contain it are not owners.
    known: the `sizes` and `pixels` of an earlier call; these pictures are not decoded again.
    aligner: cuts faces out; pictures without the one face that it wants are left out.

    Raises ImageError if no owner is found, and ConfigError for folders that would be one owner.
    """
    places, passed = places_in(folder, beside=beside)
    listed = [(place, images.listed(place)) for place in places]
    names = owner_names([place.name for place, files in listed if files])  # before they are read
    count = _Count(progress, sum(len(files) for _, files in listed))
    read = [_read(place, files, known, count, aligner) for place, files in listed]
    used = [each for each in read if each.sound]
    if not used:
        raise ImageError(f"{folder}: no folder in it holds a picture that can be read")
    owners = [_owner(names[each.path.name], each) for each in used]
    sound = [picture for each in used for picture in each.sound]
    return Pictures(
        tuple(owners),
        _together([picture.size for picture in sound]),
        sum(picture.size.channels == 1 for picture in sound),
        tuple(_notes(folder, passed, read, owners)),
        {picture.digest: picture.size for picture in sound},
        {picture.digest: picture.pixels for picture in sound},
        quality.shared(
            {names[each.path.name]: [one.pixels for one in each.sound] for each in used},
            {names[each.path.name]: [one.file.name for one in each.sound] for each in used},
        ),
    )


def places_in(folder: Path, *, beside: Path) -> tuple[list[Path], list[str]]:
    """List the owners' folders in order of name, and the names of folders passed over.

    Reads no picture. Raises ImageError if there are no owners' folders.
    """
    try:
        found = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except NotADirectoryError:
        raise no_folder(folder) from None
    except OSError as error:
        raise ImageError(f"{folder}: cannot be read ({error.strerror})") from None
    # Of a loop of links, Path.resolve would make a RuntimeError.
    own = Path(os.path.realpath(beside))
    found = [entry for entry in found if Path(os.path.realpath(entry)) not in (own, *own.parents)]
    places = [entry for entry in found if not is_system(entry.name)]
    if not places:
        raise ImageError(f"{folder}: holds no folders; make one in it for each owner's pictures")
    return places, [entry.name for entry in found if is_system(entry.name)]


class _Count:
    """Reports how many pictures were read."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        progress("read pictures", 0, total)

    def one_more(self) -> None:
        self._done += 1
        self._progress("read pictures", self._done, self._total)


def _read(
    place: Path,
    files: Sequence[Path],
    known: Mapping[str, tuple[Measured, str]],
    count: _Count,
    aligner: Aligner | None,
) -> _Folder:
    sound, damaged = [], []
    for file in files:
        try:
            digest = _digest(file) + (f"-{aligner.digest}" if aligner else "")
            sound.append(_looked(file, digest, known.get(digest), aligner))
        except ImageError as error:
            damaged.append(f"{place.name}/{file.name} {str(error).removeprefix(f'{file}: ')}")
        count.one_more()
    others = [
        (entry.suffix.lower() or "without a suffix") if entry.is_file() else "folders in folders"
        for entry in place.iterdir()
        if entry not in files and not is_system(entry.name)
    ]
    return _Folder(place, tuple(sound), tuple(damaged), tuple(others))


def _looked(
    file: Path, digest: str, known: tuple[Measured, str] | None, aligner: Aligner | None
) -> _Picture:
    if known is not None:
        size, pixels = known
        return _Picture(file, digest, size, None, pixels)
    picture = opened([file])
    size = measured(picture)
    if aligner is not None:
        picture.require_faces(aligner)
    return _Picture(file, digest, size, picture.greys[0], picture.digests[0])


def _digest(file: Path) -> str:
    """Return the SHA-256 (hex) of a file, or "" if it is too large: measuring it says so.

    Raises ImageError for a file that cannot be read.
    """
    with images.opened(file) as raw:
        if file.stat().st_size <= images.MAX_FILE_BYTES:
            return hashlib.file_digest(raw, "sha256").hexdigest()
    return ""


def _owner(name: str, found: _Folder) -> Owner:
    digest = hashlib.sha256("".join(picture.digest for picture in found.sound).encode())
    files = tuple(picture.file for picture in found.sound)
    greys = tuple(picture.grey for picture in found.sound)
    return Owner(name, found.path, files, digest.hexdigest(), greys=greys)


def _together(sizes: Sequence[Measured]) -> Measured:
    return Measured(
        median_high(size.height for size in sizes),
        median_high(size.width for size in sizes),
        max(size.channels for size in sizes),
        len(sizes),
    )


def _notes(
    folder: Path, passed: Sequence[str], read: Sequence[_Folder], owners: Sequence[Owner]
) -> list[str]:
    notes = []
    if loose := images.listed(folder):
        notes.append(f"{folder}: {len(loose)} pictures beside the folders passed over")
    if passed:
        notes.append(f"{folder}: system folders passed over: {_listed(passed)}")
    if empty := [each.path.name for each in read if not each.sound]:
        notes.append(f"{folder}: folders without a picture passed over: {_listed(empty)}")
    if damaged := [said for each in read for said in each.damaged]:
        notes.append(f"pictures left out: {_listed(damaged)}")
    if others := Counter(kind for each in read for kind in each.others):
        kinds = [f"{count} {kind}" for kind, count in sorted(others.items())]
        notes.append(f"passed over, being no picture: {_listed(kinds)}")
    return notes + _notes_of_owners([each for each in read if each.sound], owners)


def _notes_of_owners(used: Sequence[_Folder], owners: Sequence[Owner]) -> list[str]:
    notes = []
    if said := mapped({owner.folder.name: owner.name for owner in owners}):
        notes.append(said)
    counts = [(each, len(each.sound)) for each in used]
    few = [f"{each.path.name} has {count}" for each, count in counts if count < HELD_OUT_FROM]
    if few:
        notes.append(f"too few pictures to hold one out and check the model: {_listed(few)}")
    return notes


def _listed(said: Sequence[str]) -> str:
    more = len(said) - _NAMED
    return ", ".join(said[:_NAMED]) + (f" and {more} more" if more > 0 else "")
