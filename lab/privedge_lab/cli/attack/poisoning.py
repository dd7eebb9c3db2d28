"""`privedge attack poisoning`: what one hostile owner does to everybody's answers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, path
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import SeedOption
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.evaluation.poisoning import Row, Set


def register(group: typer.Typer) -> None:
    """Add `attack poisoning`."""
    group.command("poisoning")(_poisoning)


def _poisoning(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="FILE.npz", parser=path, help="Images and labels, if not digits."
        ),
    ] = None,
    probes: Annotated[
        Path | None,
        typer.Option(
            "--probes", metavar="FILE.npz", parser=path, help="Public images, if not made ones."
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
    from privedge.ran.presets import preset as spec_of
    from privedge.ran.probes import MAX_PROBES
    from privedge.user.settings import settings_for
    from privedge_lab import datasets
    from privedge_lab.evaluation import poisoning, thieves
    from privedge_lab.evaluation.pixels import as_bytes

    images = _read(data, seed)
    height, width = images.train[0].shape[1:3]
    channels = images.train[0].shape[3] if images.train[0].ndim == 4 else 1
    spec = spec_of(preset, height=height, width=width, channels=channels)
    if probes is None:
        public = thieves.varied(spec.image_shape, MAX_PROBES, seed)
    else:
        public = thieves.some(as_bytes(datasets.read(probes).images), seed, MAX_PROBES)
    rows = features.extract(spec, fit(public, spec.image_shape))
    changes = {"seed": seed} | ({"steps": steps} if steps else {})
    settings = poisoning.Settings(
        spec,
        settings_for(spec, **changes),
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
    parts = datasets.split(datasets.read(data), seed=seed)
    classes = np.unique(parts.train.labels.numpy())
    train, asked = (
        [as_bytes(part.images[part.labels == int(label)]) for label in classes]
        for part in (parts.train, parts.test)
    )
    return Set(train, asked)


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
