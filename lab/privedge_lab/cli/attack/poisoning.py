"""`privedge attack poisoning`: what one hostile owner does to everybody's answers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import (
    DetectorOption,
    EncoderOption,
    JsonOption,
    SpecOption,
    path,
    without_effect,
)
from privedge.cli.progress import progress_bar
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import SeedOption
from privedge_lab.cli.evaluate.options import network
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge.arrays import Inputs
    from privedge.progress import Progress
    from privedge.ran.spec import RanSpec
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.evaluation.poisoning import Row, Set

_PRESET = "subspace32-fine"


def register(group: typer.Typer) -> None:
    """Add `attack poisoning`."""
    group.command("poisoning")(_poisoning)


def _poisoning(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE.npz|FOLDER",
            parser=path,
            help="Images or vectors, and labels, if not digits.",
        ),
    ] = None,
    probes: Annotated[
        list[Path] | None,
        typer.Option(
            "--probes",
            metavar="FILE.npz|FOLDER",
            parser=path,
            help="More public images for the pool of probes; may be repeated.",
        ),
    ] = None,
    of_given: Annotated[
        bool, typer.Option("--given-only", help="The pool is the images of --probes alone.")
    ] = False,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The cohort's architecture.")
    ] = _PRESET,
    owners: Annotated[int, typer.Option("--owners", min=2, help="Beside the hostile one.")] = 3,
    margin: Annotated[float, typer.Option("--margin", min=0.01, max=1)] = 0.7,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Of training, if not the preset's.")
    ] = None,
    tries: Annotated[
        int, typer.Option("--tries", min=1, help="Draws of people, for honest models refused.")
    ] = 20,
    deviations: Annotated[
        float,
        typer.Option(
            "--deviations",
            min=1,
            max=20,
            help="How far below the usual error a model's may be, in standard deviations.",
        ),
    ] = 2.25,
    most_won: Annotated[
        float,
        typer.Option("--most-won", min=0, max=1, help="The share of probes that may be won."),
    ] = 0.05,
    asked: Annotated[
        int, typer.Option("--asked", min=1, max=256, help="Probes that are drawn for a check.")
    ] = 256,
    secret: Annotated[
        bool, typer.Option("--secret", help="The hostile owner knows half of the pool.")
    ] = False,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="As if the parties did not check new models.")
    ] = False,
    honest_only: Annotated[
        bool, typer.Option("--honest", help="Only count honest models that are refused.")
    ] = False,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    spec_file: SpecOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Models of a hostile owner: which of them the check takes, and what they do to answers.

    Of the classes that are not owners, two thirds are public people, whose images are the probes,
    and one third strangers. Compare with "none", the cohort as it is, and "honest", with one more
    honest owner.

    \b
    Example:
      privedge attack poisoning --data faces_orl_64.npz --preset subspace64-fine --owners 12
    """
    from privedge.errors import ConfigError
    from privedge.ran.images import fit
    from privedge.user.model_check import Choice
    from privedge.user.settings import settings_for
    from privedge_lab.evaluation import poisoning
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.evaluation.identify_parts import Choice as Dealt
    from privedge_lab.evaluation.identify_parts import pictures

    if of_given and not probes:
        raise ConfigError("--given-only: give --probes FILE")
    _refuse_idle(context, honest_only=honest_only, of_digits=data is None)
    chosen = network(preset, encoder, spec_file, detector, usual=_PRESET)
    # The digits are no file.
    task = Task(data or Path(), Dealt(seed), preset, baselines=(), **chosen)
    with progress_bar() as progress:
        images, spec = _digits(task) if data is None else _read(task, progress)
        public = [_public(task, each, progress) for each in probes or ()]
    settings = poisoning.Settings(
        spec,
        settings_for(spec, files=task.files, seed=seed, **({"steps": steps} if steps else {})),
        owners,
        margin,
        seed,
        Choice(deviations, margin, most_won, asked),
        check=not unchecked,
        of_given=of_given,
        known=not secret,
    )
    if spec.image is not None:
        images = poisoning.Set(
            [fit(pictures(each), spec.image_shape) for each in images.train],
            [fit(pictures(each), spec.image_shape) for each in images.test],
        )
    rans = experiment.once(lambda bars: poisoning.trained(images, settings, bars))
    pool = poisoning.pool_of(images, rans, settings, public)
    refused, joined = poisoning.refused_honest(pool, settings, tries)
    rows = (
        []
        if honest_only
        else experiment.once(lambda bars: poisoning.rows(images, settings, rans, pool, bars))
    )
    if as_json:
        honest = {"models": joined, "refused": refused, "classes": len(images.train)}
        print(json.dumps({"rows": [asdict(row) for row in rows], "honest": honest}))
        return
    print(
        f"honest models refused: {refused} of {joined} ({len(images.train)} classes, {tries} draws)"
    )
    _table(rows)


def _refuse_idle(context: typer.Context, *, honest_only: bool, of_digits: bool) -> None:
    if honest_only:
        why = "--honest counts refused honest models, and makes no hostile ones"
        without_effect(context, why, "unchecked", "secret")
    if of_digits:
        without_effect(context, "the digits have no faces; give --data, or", "detector")


def _digits(task: "Task") -> "tuple[Set, RanSpec]":
    """By class, what to train on and what to ask about, and the architecture for them."""
    from privedge_lab import encoded
    from privedge_lab.demo import digits
    from privedge_lab.evaluation.poisoning import Set

    found = digits.load(task.choice.seed)
    labels = found.test_labels
    test = [found.test_images[labels == digit] for digit in range(10)]
    height, width = found.test_images.shape[1:3]
    spec = encoded.spec_for(task.preset, task.spec, (1, 1, height, width), task.files)
    encoded.require_no_faces(spec, "the digits have none")
    return Set([found.train_images[digit] for digit in range(10)], test), spec


def _read(task: "Task", progress: "Progress") -> "tuple[Set, RanSpec]":
    """The same of a set of one's own, with faces cut out if the architecture wants that."""
    from privedge_lab.evaluation import cohort
    from privedge_lab.evaluation.identify_parts import deal
    from privedge_lab.evaluation.poisoning import Set

    parts = deal(cohort.read(task, progress, or_vectors=True).data, task.choice)
    test = [parts.images[parts.labels == number] for number in range(len(parts.owners))]
    return Set(parts.train, test), cohort.spec_of(task, parts)


def _public(task: "Task", file: Path, progress: "Progress") -> "Inputs":
    from privedge_lab.evaluation import cohort
    from privedge_lab.evaluation.identify_parts import inputs_of

    return inputs_of(cohort.read(task, progress, file, or_vectors=True).data)


def _table(rows: "list[Row]") -> None:
    if not rows:
        return
    titles = (
        *("model", "taken", "error ratio", "probes won"),
        *("strangers named", "recall", "no answer"),
    )
    experiment.table(
        titles,
        [
            (
                *(row.model, f"{row.taken:.0%}", shown(row.error_ratio, ".3f")),
                *(shown(row.won, ".1%"), f"{row.strangers_named:.1%}"),
                *(f"{row.honest_recall:.1%}", f"{row.integrity_errors:.1%}"),
            )
            for row in rows
        ],
    )
