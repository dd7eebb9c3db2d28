"""Photographs of people as a demo's pictures, with the files of `make face-recipe`.

Half of the people, ten at most, are owners with three photographs each, and the client asks about
their others. One photograph of each further person is a stranger's. Photographs without exactly one
face are left out. Sees everybody's photographs: the demo plays all roles.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from privedge.arrays import Pixels
from privedge.errors import ConfigError, ImageError
from privedge.identity.names import owner_names
from privedge.ran import face, images
from privedge.ran.alignment import Aligner, aligner_for
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge.user import people
from privedge.user.people import Taken
from privedge_lab.demo.task import Task, Words, require_so_many

log = logging.getLogger(__name__)

# Where `make face-recipe DIR=build/faces` puts its files.
ENCODER = Path("build/faces/encoder.onnx")
_DETECTOR, _PEOPLE = "detector.onnx", "people"
_RECIPE = "make face-recipe DIR=build/faces makes it"
_OWNERS, _STRANGERS, _PHOTOS, _QUERIES = 10, 10, 3, 100
# Of one person, as many are looked at.
_MOST = 30
# The page shows no more of a photograph, and nothing is gained by asking with more.
_SIDE = 640


@dataclass(frozen=True)
class Source:
    """The public files, their rivals (None for none), and the folder or npz of photographs."""

    public: PublicFiles
    rivals: Path | None
    people: Path


def source(
    encoder: Path | None = None, detector: Path | None = None, given: Path | None = None
) -> Source:
    """Find the files: what is not given lies beside the encoder. Raises ConfigError."""
    encoder = encoder or ENCODER
    detector = detector or encoder.with_name(_DETECTOR)
    photographs = given or encoder.with_name(_PEOPLE)
    for path in (encoder, detector, photographs):
        if not path.exists():
            raise ConfigError(f"{path}: no such file; {_RECIPE}")
    rivals = encoder.with_name(face.RIVALS)
    public = PublicFiles(encoder=encoder, detector=detector)
    return Source(public, rivals if rivals.exists() else None, photographs)


def task(preset: str, queries: int | None, seed: int, found: Source) -> Task:
    """Deal the photographs out, drawn by `seed`.

    queries: how many photographs of owners are asked; None for all, but a hundred at most.

    Raises ConfigError, and ImageError for photographs that do not do.
    """
    spec = spec_named(preset, height=face.SIDE, width=face.SIDE, channels=3, files=found.public)
    rng = np.random.default_rng(seed)
    dealt = _dealt(found, aligner_for(spec, found.public), rng)
    others = [(name, photo) for name, (_, rest) in dealt.owners.items() for photo in rest]
    count = min(_QUERIES, len(others)) if queries is None else queries
    require_so_many(count, len(others))
    asked = [others[at] for at in rng.permutation(len(others))[:count]]
    return Task(
        cohort="faces",
        spec=spec,
        words=_words(found),
        learnt={name: learnt for name, (learnt, _) in dealt.owners.items()},
        asked=[photo for _, photo in asked],
        truths=[name for name, _ in asked],
        strangers=dealt.strangers,
        margin=face.MARGIN,
        rivals=found.rivals,
        public=found.public,
    )


@dataclass(frozen=True)
class _Dealt:
    """By owner's name the photographs learnt, and the others; and strangers' photographs."""

    owners: Mapping[str, tuple[Sequence[Pixels], Sequence[Pixels]]]
    strangers: Sequence[Pixels]


def _dealt(found: Source, aligner: Aligner | None, rng: np.random.Generator) -> _Dealt:
    sets = people.by_person(found.people, skip_bad=True)
    wanted = min(_OWNERS, max(2, len(sets) // 2))
    owners: dict[str, tuple[Sequence[Pixels], Sequence[Pixels]]] = {}
    strangers: list[Pixels] = []
    for name in rng.permutation([*sets]).tolist():
        photographs = _with_a_face(sets[name], name, aligner)
        if len(owners) < wanted:
            mine = [*islice(photographs, _MOST)]
            learnt = min(_PHOTOS, len(mine) - 1)
            if learnt > 0:
                mine = [mine[at] for at in rng.permutation(len(mine))]
                owners[name] = (mine[:learnt], mine[learnt:])
        elif len(strangers) < _STRANGERS:
            strangers += islice(photographs, 1)
    if len(owners) < 2:
        raise ImageError(
            f"{found.people}: has fewer than two people with two photographs of one face each"
        )
    called = owner_names([*owners])
    return _Dealt({called[name]: photos for name, photos in owners.items()}, strangers)


def _with_a_face(taken: Taken, name: str, aligner: Aligner | None) -> Iterator[Pixels]:
    """Yield a person's photographs that have exactly one face, and log what the others lack."""
    if taken.pictures is None:
        raise ImageError(f"{name}: has vectors, and photographs are needed here")
    for number, given in enumerate(taken.pictures.one_by_one.pictures):
        where = str(given) if isinstance(given, Path) else f"{name}: picture {number}"
        try:
            if isinstance(given, Path):
                picture = images.decode(given)
            else:
                picture = images.upright(given, where)
            if aligner is not None:
                aligner.face(picture, where)
        except ImageError as error:
            log.warning("left out: %s", error)
            continue
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        yield np.asarray(picture, dtype=np.uint8)


def _words(found: Source) -> Words:
    return Words(
        question="Whose face is it?",
        things="faces",
        learnt="a few photographs of one person",
        how="A public network turns the face in each photograph into numbers. Each owner's model "
        "learns what the numbers of that person have in common, and redraws other people's badly.",
        strangers="photographs of people who are no owners",
        source=f"the photographs in {found.people}, which this page shows to whoever has it",
        option=" --faces",
    )
