"""Read pictures or vectors of several people, to choose a margin or to make public rivals.

    by_person(source)    a folder of folders, or an npz with labels: one set for each person
    of_anybody(source)   the same, or a folder of pictures, or an npz without labels: all together

Sees plaintext: for one's own device only.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from privedge.arrays import Features, Inputs, is_pixels
from privedge.errors import ImageError
from privedge.ran import features, images, npz
from privedge.ran.alignment import aligner_for
from privedge.ran.feature_kinds import Vector
from privedge.ran.inputs import Opened, in_folder, in_folders, is_npz, opened
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user import architecture


@dataclass(frozen=True)
class Taken:
    """Pictures that are not decoded yet, or vectors, float64 (n, D)."""

    pictures: Opened | None
    vectors: Inputs | None = field(default=None, repr=False)

    def inputs(self, spec: RanSpec, files: PublicFiles, *, largest_face: bool = False) -> Inputs:
        """The pictures, or the faces in them, at the size of the spec; or the vectors.

        largest_face: whether the largest of several faces in a picture is meant.

        Raises ImageError, and ConfigError for a detector that is missing.
        """
        wants_vectors = isinstance(spec.features, Vector)
        if self.vectors is not None:
            if not wants_vectors:
                raise ImageError(f"preset {spec.name}: takes pictures, not vectors")
            return self.vectors
        if self.pictures is None or wants_vectors:
            raise ImageError(f"preset {spec.name}: takes vectors, not pictures")
        aligner = aligner_for(spec, files, largest=largest_face)
        return self.pictures.at(spec.image_shape, aligner)

    def features(
        self, spec: RanSpec, files: PublicFiles, *, largest_face: bool = False
    ) -> Features:
        """What the feature map makes of them, float32 (n, *input_shape)."""
        found = self.inputs(spec, files, largest_face=largest_face)
        return features.extract(spec, found, encoder=files.encoder)


def by_person(source: Path, *, skip_bad: bool = False) -> dict[str, Taken]:
    """Find what there is of each person, in order of name. Raises ImageError.

    skip_bad: leave out pictures that cannot be used, and name them in a warning.
    """
    if source.is_dir():
        found = in_folders(source, skip_bad=skip_bad)
        return {folder.name: Taken(pictures) for folder, pictures in found.items()}
    held = npz.read(source).by_label()
    return {label: _taken(inputs, skip_bad) for label, inputs in held.items()}


def of_anybody(source: Path) -> list[Taken]:
    """Find all there is, whoever it is of. Raises ImageError.

    Pictures that cannot be used are left out, and named in a warning: there are others.
    """
    if source.is_dir():
        if images.listed(source) or not images.subfolders(source):
            return [Taken(Opened(in_folder(source), skip_bad=True))]
        return [Taken(each) for each in in_folders(source, skip_bad=True).values()]
    if not is_npz(source):
        return [Taken(opened(source))]
    return [_taken(npz.read(source).inputs, skip_bad=True)]


def spec_for(
    sets: Iterable[Taken],
    preset: str | RanSpec,
    *,
    components: int | None = None,
    channels: int | None = None,
    files: PublicFiles,
) -> RanSpec:
    """Choose the architecture as `architecture.spec_for` does."""
    return architecture.spec_for(
        *[each.pictures or Opened((), each.vectors) for each in sets],
        preset=preset,
        components=components,
        channels=channels,
        files=files,
    )


def _taken(inputs: Inputs, skip_bad: bool) -> Taken:
    return Taken(Opened((), inputs, skip_bad)) if is_pixels(inputs) else Taken(None, inputs)
