"""Read pictures or vectors of several people, to choose a margin or to make public rivals.

    by_person(source)    a folder of folders, or an npz with labels: one set for each person
    of_anybody(source)   the same, or a folder of pictures, or an npz without labels: all together

Sees plaintext: for one's own device only.
"""

from collections.abc import Iterable
from pathlib import Path

from privedge.arrays import Features, Inputs
from privedge.ran import features, images, npz
from privedge.ran.alignment import aligner_for
from privedge.ran.inputs import Opened, in_folder, is_npz, opened
from privedge.ran.public_files import PublicFiles
from privedge.ran.sets import by_owner, in_folders
from privedge.ran.spec import RanSpec
from privedge.user import architecture


def inputs_of(
    given: Opened, spec: RanSpec, files: PublicFiles, *, largest_face: bool = False
) -> Inputs:
    """Return the pictures, or the faces in them, at the size of the spec; or the vectors.

    largest_face: whether the largest of several faces in a picture is meant.

    Raises ImageError, and ConfigError for a detector that is missing.
    """
    given.require_fitting(spec)
    return given.at(spec.image, aligner_for(spec, files, largest=largest_face))


def features_of(
    given: Opened, spec: RanSpec, files: PublicFiles, *, largest_face: bool = False
) -> Features:
    """Return what the feature map makes of them, float32 (n, *input_shape)."""
    found = inputs_of(given, spec, files, largest_face=largest_face)
    return features.extract(spec, found, encoder=files.encoder)


def by_person(source: Path, *, skip_bad: bool = False) -> dict[str, Opened]:
    """Find what there is of each person, in order of name. Raises ImageError.

    skip_bad: leave out pictures that cannot be used, and name them in a warning.
    """
    if source.is_dir():
        return in_folders(source, skip_bad=skip_bad).found
    return by_owner(source, skip_bad=skip_bad).found


def of_anybody(source: Path) -> list[Opened]:
    """Find all there is, whoever it is of. Raises ImageError.

    Pictures that cannot be used are left out, and named in a warning: there are others.
    """
    if source.is_dir():
        if images.listed(source) or not images.subfolders(source):
            return [Opened(in_folder(source), skip_bad=True)]
        return list(in_folders(source, skip_bad=True).found.values())
    if not is_npz(source):
        return [opened(source)]
    held = npz.read(source, with_labels=False)
    return [Opened((), held.inputs, skip_bad=True, unit_length=held.unit_length)]


def spec_for(
    sets: Iterable[Opened],
    preset: str | RanSpec,
    *,
    components: int | None = None,
    channels: int | None = None,
    files: PublicFiles,
) -> RanSpec:
    """Choose the architecture as `architecture.spec_for` does."""
    return architecture.spec_for(
        *sets,
        preset=preset,
        components=components,
        channels=channels,
        files=files,
    )
