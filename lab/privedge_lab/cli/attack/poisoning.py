"""`privedge attack poisoning`: what one hostile owner does to everybody's answers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import DetectorOption, EncoderOption, JsonOption, SpecOption, path
from privedge.cli.progress import progress_bar
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import SeedOption
from privedge_lab.cli.evaluate.options import network
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge.arrays import Pixels
    from privedge.progress import Progress
    from privedge.ran.spec import RanSpec
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.evaluation.poisoning import Row, Set


def register(group: typer.Typer) -> None:
    """Add `attack poisoning`."""
    group.command("poisoning")(_poisoning)


def _poisoning(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE.npz|FOLDER",
            parser=path,
            help="Images and labels, if not digits.",
        ),
    ] = None,
    probes: Annotated[
        Path | None,
        typer.Option(
            "--probes",
            metavar="FILE.npz|FOLDER",
            parser=path,
            help="Public images with labels, if not made ones.",
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The cohort's architecture.")
    ] = "subspace32-fine",
    owners: Annotated[int, typer.Option("--owners", min=2, help="Beside the hostile one.")] = 4,
    margin: Annotated[float, typer.Option("--margin", min=0.01, max=1)] = 0.7,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Of training, if not the preset's.")
    ] = None,
    tries: Annotated[
        int, typer.Option("--tries", min=1, help="Draws of people, for honest models refused.")
    ] = 20,
    deviations: Annotated[
        float, typer.Option("--deviations", min=1, max=20, help="Half the width of the band.")
    ] = 4.0,
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

    The band is chosen from the classes that are not owners; their test images are the strangers.
    Compare with "none", the cohort as it is, and "honest", with one more honest owner.

    \b
    Example:
      privedge attack poisoning --data faces_orl_64.npz --preset subspace64-fine --owners 12
    """
    from privedge.ran import features
    from privedge.ran.images import fit
    from privedge.user.settings import settings_for
    from privedge_lab.evaluation import poisoning
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.evaluation.identify_parts import Choice

    chosen = network(preset, encoder, spec_file, detector)
    files = chosen["files"]
    # The digits are no file.
    task = Task(data or Path(), Choice(seed), preset, baselines=(), **chosen)
    with progress_bar() as progress:
        images, spec = _digits(task) if data is None else _read(task, progress)
        public = _probes(task, probes, spec, progress)
    rows = features.extract(spec, fit(public, spec.image_shape), encoder=files.encoder)
    changes = {"seed": seed} | ({"steps": steps} if steps else {})
    settings = poisoning.Settings(
        spec,
        settings_for(spec, files=files, **changes),
        owners,
        margin,
        seed,
        check=not unchecked,
        deviations=deviations,
    )
    images = poisoning.Set(
        [fit(each, spec.image_shape) for each in images.train],
        [fit(each, spec.image_shape) for each in images.test],
    )
    trained = experiment.once(lambda bars: poisoning.errors_on_probes(images, settings, rows, bars))
    refused, joined = poisoning.refused_honest(
        [error for _, error in trained], tries, seed, deviations
    )
    found = (
        []
        if honest_only
        else experiment.once(lambda bars: poisoning.rows(images, settings, rows, trained, bars))
    )
    if as_json:
        honest = {"models": joined, "refused": refused, "classes": len(trained)}
        print(json.dumps({"rows": [asdict(row) for row in found], "honest": honest}))
        return
    print(f"honest models refused: {refused} of {joined} ({len(trained)} classes, {tries} draws)")
    _table(found)


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
    from privedge_lab.evaluation.identify_parts import deal, pictures
    from privedge_lab.evaluation.poisoning import Set

    parts = deal(cohort.read(task, progress).data, task.choice)
    asked = pictures(parts.images)
    test = [asked[parts.labels == number] for number in range(len(parts.owners))]
    return Set([*map(pictures, parts.train)], test), cohort.spec_of(task, parts)


def _probes(task: "Task", given: Path | None, spec: "RanSpec", progress: "Progress") -> "Pixels":
    """Public images, as many as a file of probes may have; made ones if none are given."""
    from privedge.ran.probes import MAX_PROBES
    from privedge_lab.evaluation import cohort, thieves
    from privedge_lab.evaluation.identify_parts import as_bytes

    seed = task.choice.seed
    if given is None:
        return thieves.varied(spec.image_shape, MAX_PROBES, seed)
    return thieves.some(as_bytes(cohort.read(task, progress, given).data), seed, MAX_PROBES)


def _table(rows: "list[Row]") -> None:
    if not rows:
        return
    titles = ("model", "admitted", "error ratio", "strangers named", "recall", "no answer")
    experiment.table(
        titles,
        [
            (
                *(row.model, "yes" if row.admitted else "no", shown(row.error_ratio, ".3f")),
                *(f"{row.strangers_named:.1%}", f"{row.honest_recall:.1%}"),
                f"{row.integrity_errors:.1%}",
            )
            for row in rows
        ],
    )
