"""Measure a private question about a face, from the picture to the answer, and a training.

    1.  train a model for each owner from a few photographs, as `privedge train` does
    2.  start a deployment with the models, the margin of the preset and public rivals
    3.  ask about other photographs, one by one, and look at the same steps on the device singly
    4.  compare every answer with the plaintext fixed-point model's

Sees everybody's photographs: an experiment plays all roles.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from privedge.arrays import Features
from privedge.client.query import Client
from privedge.errors import ConfigError
from privedge.identity.names import owner_names
from privedge.identity.roles import Identity, Role
from privedge.local.deployment import CohortSetting, Deployment
from privedge.progress import Progress
from privedge.ran import face, features, rivals
from privedge.ran.alignment import Aligner, aligner_for
from privedge.ran.inputs import Opened, opened
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge.ran.spec import RanSpec
from privedge.user import people, upload
from privedge.user.checkpoint import Ran
from privedge.user.train import train
from privedge_lab.bench.system import COHORT, TIMEOUT_S
from privedge_lab.reference.model import PlainAnswer, PlainModel

T = TypeVar("T")

# The first questions connect, load both networks and open what is masked once for all.
WARM_UP = 3

Picture = Path | Image.Image


@dataclass(frozen=True)
class Load:
    """What is measured.

    people    a folder of folders of photographs, or an npz with labels
    owners    so many people own a model; None for all
    photos    photographs that each of them learns from; one more at least is asked about
    queries   questions that count
    rivals    a file of public rivals; None for none
    preset    the architecture; the margin is that of the preset face in any case
    """

    people: Path
    owners: int | None
    photos: int
    queries: int
    files: PublicFiles
    rivals: Path | None = None
    preset: str = face.NAME


@dataclass(frozen=True)
class Figures:
    """Medians of seconds, and answers.

    call_s           the whole of `Client.identify`, from a picture; call_p95_s likewise
    finding_s        to read the picture, find the face and cut it out
    encoder_s        for the encoder
    private_s        from sending the shares until the answer is added up
    training_s       of one owner's model from the photographs, with both networks loaded
    agreeing, ties, differing   answers beside the plaintext fixed-point model's; ties apart,
        for rounding may decide them
    right, unknown   answers with the owner's name, and with none
    """

    owners: int
    photos: int
    rivals: int
    queries: int
    call_s: float
    call_p95_s: float
    finding_s: float
    encoder_s: float
    private_s: float
    training_s: float
    agreeing: int
    ties: int
    differing: int
    right: int
    unknown: int


@dataclass(frozen=True)
class _Asked:
    """One question: its answer, and the seconds of the call and of its steps."""

    owner: str | None
    call_s: float
    finding_s: float
    encoder_s: float
    private_s: float
    features: Features = field(repr=False)


def time_questions(load: Load, progress: Progress) -> Figures:
    """Measure all of it. Raises ConfigError or ImageError for photographs that do not do, and the
    error of a party's refusal.
    """
    learnt, others = _dealt(load)
    rans, seconds = _trained(learnt, load, progress)
    questions = _questions(others, WARM_UP + load.queries)
    asked = _asked(rans, [picture for _, picture in questions], load, progress)[WARM_UP:]
    truths = [owner for owner, _ in questions][WARM_UP:]
    spec = rans[0].spec
    public = None if load.rivals is None else rivals.read(load.rivals, spec)
    expected = PlainModel(rans, face.MARGIN, rivals=public).answers(
        np.concatenate([each.features for each in asked])
    )
    figures = _figures(asked, truths, expected)
    return Figures(
        owners=len(rans),
        photos=load.photos,
        rivals=0 if public is None else len(public),
        queries=load.queries,
        training_s=float(np.median(seconds)),
        **figures,
    )


def _dealt(load: Load) -> tuple[Mapping[str, Sequence[Picture]], Mapping[str, Sequence[Picture]]]:
    """What each owner learns from, and the owner's other photographs."""
    sets = people.by_person(load.people, skip_bad=True)
    called = owner_names([*sets])
    spec = spec_named(load.preset, height=face.SIDE, width=face.SIDE, channels=3, files=load.files)
    aligner = aligner_for(spec, load.files)
    taken: dict[str, Sequence[Picture]] = {}
    for name, found in sets.items():
        if len(taken) == load.owners:
            break
        pictures = _pictures(found, name, aligner)
        if len(pictures) > load.photos:
            taken[called[name]] = pictures
    if len(taken) < (load.owners or 1):
        raise ConfigError(
            f"owners: {load.people} has {len(taken)} people with more than {load.photos} "
            "photographs; give fewer --owners or --photos"
        )
    learnt = {name: pictures[: load.photos] for name, pictures in taken.items()}
    return learnt, {name: pictures[load.photos :] for name, pictures in taken.items()}


def _pictures(found: Opened, name: str, aligner: Aligner | None) -> Sequence[Picture]:
    """A person's photographs of one face; others are left out with a warning."""
    if found.vector_size is not None:
        raise ConfigError(f"{name}: has vectors, and photographs are needed here")
    given = found.one_by_one
    if aligner is not None:
        given.require_faces(aligner)
    return given.pictures


def _trained(
    learnt: Mapping[str, Sequence[Picture]], load: Load, progress: Progress
) -> tuple[Sequence[Ran], Sequence[float]]:
    """The models, and the seconds of each; the first of these loads the networks."""
    rans, seconds = [], []
    for done, (owner, pictures) in enumerate(learnt.items()):
        progress("train", done, len(learnt))
        ran, spent = _timed(partial(_train, pictures, owner, load))
        rans.append(ran)
        seconds.append(spent)
    return rans, seconds[1:] or seconds


def _train(pictures: Sequence[Picture], owner: str, load: Load) -> Ran:
    return train(
        [*pictures],
        owner=owner,
        preset=load.preset,
        encoder=load.files.encoder,
        detector=load.files.detector,
        quality="ignore",
    )


def _questions(
    others: Mapping[str, Sequence[Picture]], count: int
) -> Sequence[tuple[str, Picture]]:
    """Owners in turn, each with the owner's next photograph, as often as it takes."""
    rounds = max(map(len, others.values()))
    every = [
        (owner, pictures[turn])
        for turn in range(rounds)
        for owner, pictures in others.items()
        if turn < len(pictures)
    ]
    return [every[number % len(every)] for number in range(count)]


def _asked(
    rans: Sequence[Ran], pictures: Sequence[Picture], load: Load, progress: Progress
) -> list[_Asked]:
    """Ask with real servers on this machine."""
    spec = rans[0].spec
    public = None if load.rivals is None else str(load.rivals.absolute())
    cohort = replace(CohortSetting.of(spec, COHORT, margin=face.MARGIN), rivals=public)
    settings = {"query_deadline_s": TIMEOUT_S}
    with (
        tempfile.TemporaryDirectory(prefix="privedge-bench-") as folder,
        Deployment(Path(folder), [cohort], settings) as deployment,
    ):
        for done, ran in enumerate(rans, start=1):
            upload.send(ran, COHORT, deployment.client_config(Identity(Role.OWNER, ran.owner)))
            progress("upload", done, len(rans))
        config = deployment.client_config(Identity(Role.CLIENT, "bench"), files=load.files)
        with Client(config) as client:
            found = []
            for done, picture in enumerate(pictures, start=1):
                found.append(_ask(client, picture, spec, load.files))
                progress("query", done, len(pictures))
            return found


def _ask(client: Client, picture: Picture, spec: RanSpec, files: PublicFiles) -> _Asked:
    reply, call_s = _timed(lambda: client.identify(picture, COHORT))
    # What the client has done within the call, once more.
    aligner = aligner_for(spec, files)
    cutting, finding_s = _timed(lambda: opened([picture]).at(spec.image, aligner))
    row, encoder_s = _timed(lambda: features.extract(spec, cutting, encoder=files.encoder))
    return _Asked(reply.answers[0].owner, call_s, finding_s, encoder_s, reply.seconds, row)


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    started = perf_counter()
    found = call()
    return found, perf_counter() - started


def _figures(
    asked: Sequence[_Asked], truths: Sequence[str], expected: Sequence[PlainAnswer]
) -> dict[str, Any]:
    """The fields of Figures that answers have."""
    seconds = {
        name: float(np.median([getattr(each, name) for each in asked]))
        for name in ("call_s", "finding_s", "encoder_s", "private_s")
    }
    pairs = list(zip(asked, expected, strict=True))
    clear = [each.owner == right.owner for each, right in pairs if not right.tie]
    return {
        **seconds,
        "call_p95_s": float(np.percentile([each.call_s for each in asked], 95)),
        "agreeing": sum(clear),
        "ties": len(asked) - len(clear),
        "differing": len(clear) - sum(clear),
        "right": sum(each.owner == truth for each, truth in zip(asked, truths, strict=True)),
        "unknown": sum(each.owner is None for each in asked),
    }
