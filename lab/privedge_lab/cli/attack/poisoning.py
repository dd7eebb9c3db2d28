"""`privedge attack poisoning`: what one hostile owner does to everybody's answers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import JsonOption, path
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import SeedOption
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge.ran.spec import RanSpec
    from privedge_lab.evaluation.poisoning import Row, Set


def register(group: typer.Typer) -> None:
    """Add `attack poisoning`."""
    group.command("poisoning")(_poisoning)


def _poisoning(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE.npz",
            parser=path,
            help="Images or vectors, and labels, if not digits.",
        ),
    ] = None,
    probes: Annotated[
        list[Path] | None,
        typer.Option(
            "--probes",
            metavar="FILE.npz",
            parser=path,
            help="More public images for the pool of probes; may be repeated.",
        ),
    ] = None,
    of_given: Annotated[
        bool, typer.Option("--given-only", help="The pool is the images of --probes alone.")
    ] = False,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The cohort's architecture.")
    ] = "subspace32-fine",
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

    if of_given and not probes:
        raise ConfigError("--given-only: give --probes FILE")
    images = _read(data, seed)
    spec = _spec(preset, images)
    changes: dict[str, Any] = {"seed": seed} | ({"steps": steps} if steps else {})
    settings = poisoning.Settings(
        spec,
        settings_for(spec, **changes),
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
            [fit(each, spec.image_shape) for each in images.train],
            [fit(each, spec.image_shape) for each in images.test],
        )
    rans = experiment.once(lambda bars: poisoning.trained(images, settings, bars))
    pool = poisoning.pool_of(images, rans, settings, [_public(each) for each in probes or ()])
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


def _spec(preset: str, images: "Set") -> "RanSpec":
    from privedge.ran.presets import preset as spec_of

    first = images.train[0]
    if first.ndim == 2:
        return spec_of(preset, size=first.shape[1], unit_length=True)
    channels = first.shape[3] if first.ndim == 4 else 1
    return spec_of(preset, height=first.shape[1], width=first.shape[2], channels=channels)


def _public(file: Path) -> Any:
    from privedge_lab import datasets
    from privedge_lab.evaluation.pixels import as_bytes

    given = datasets.read(file, or_vectors=True)
    return given.images.numpy() if given.of_vectors else as_bytes(given.images)


def _read(data: Path | None, seed: int) -> "Set":
    """By class, what to train on and what to ask about."""
    import numpy as np

    from privedge_lab import datasets
    from privedge_lab.demo import digits
    from privedge_lab.evaluation.pixels import as_bytes
    from privedge_lab.evaluation.poisoning import Set

    if data is None:
        found = digits.load(seed)
        labels = found.test_labels
        test = [found.test_images[labels == digit] for digit in range(10)]
        return Set([found.train_images[digit] for digit in range(10)], test)
    given = datasets.read(data, or_vectors=True)
    parts = datasets.split(given, seed=seed)
    classes = np.unique(parts.train.labels.numpy())
    train, asked = (
        [
            rows.numpy() if given.of_vectors else as_bytes(rows)
            for rows in (part.images[part.labels == int(label)] for label in classes)
        ]
        for part in (parts.train, parts.test)
    )
    return Set(train, asked)


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
