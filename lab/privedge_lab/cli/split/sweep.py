"""`privedge split sweep`: cut depth x defence strength, with what every attack gets."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.cli.options import LabelledArgument, ResumeRowsOption, RowsOption
from privedge_lab.cli.split.train import (
    PresetOption,
    SeedOption,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.sweep import SweepRow

_SHOWN = 10


class Repeated(StrEnum):
    """When a device draws the same random numbers. `fresh` is unsafe; it is here to be measured."""

    FIXED = "fixed"
    PER_INPUT = "per-input"
    FRESH = "fresh"


def register(group: typer.Typer) -> None:
    """Add `split sweep`."""
    group.command("sweep")(_sweep)


def _sweep(
    data: LabelledArgument,
    cuts: Annotated[str, typer.Option("--cuts", metavar="A,B", help="Layers to cut after.")],
    preset: PresetOption = "lenet",
    defences: Annotated[
        str, typer.Option("--defences", metavar="A,B", help="Beside none, which is always there.")
    ] = "none",
    strengths: Annotated[
        list[str] | None,
        typer.Option(
            "--strengths", metavar="[NAME=]X,Y", help="For all defences, or for NAME. Repeatable."
        ),
    ] = None,
    attacks: Annotated[
        str,
        typer.Option(
            "--attacks",
            help="Of white-box, black-box, black-box-residual, pseudo-inverse, non-negative.",
        ),
    ] = "white-box,black-box",
    private: Annotated[
        str | None,
        typer.Option("--private", metavar="FACT", help="Also attack this private attribute."),
    ] = None,
    repeat: Annotated[
        Repeated, typer.Option("--repeat", help="When a device draws the same random numbers.")
    ] = Repeated.PER_INPUT,
    asked: Annotated[
        int, typer.Option("--asked", min=1, help="Times the server is sent each image.")
    ] = 1,
    images: Annotated[int, typer.Option("--images", min=1, help="Test images to attack.")] = 200,
    known: Annotated[
        int, typer.Option("--known", min=20, help="Training images the attacker has.")
    ] = 2000,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of the network.")] = 20,
    attack_epochs: Annotated[
        int, typer.Option("--attack-epochs", min=1, help="Of inverse networks.")
    ] = 20,
    iterations: Annotated[
        int, typer.Option("--iterations", min=1, help="Of white-box searches.")
    ] = 500,
    seed: SeedOption = 0,
    out: RowsOption = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", metavar="FILE.png", help="Draw the rows.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE.png", help="Originals above reconstructions."),
    ] = None,
    resume: ResumeRowsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train and attack a cut network for each cut, defence and strength.

    White-box attacks on a defence that drops values are run twice: as published, and by an attacker
    who knows that a 0 may have been dropped (white-box-masked). pseudo-inverse and non-negative
    solve a head of one layer as linear equations. The sheet has a row of images for each row
    measured by this call, below the originals.

    \b
    Examples:
      privedge split sweep mnist_28.npz --cuts conv1,relu2,fc1 --out depth.json --figure depth.png
      privedge split sweep mnist_28.npz --cuts relu2 --defences gaussian,feature-dropout \\
        --strengths gaussian=0.2,0.5,1 --strengths feature-dropout=0.2,0.4,0.6 --out cost.json
      privedge split sweep mnist_28.npz --cuts conv1 --defences dropping --strengths 0.9 \\
        --attacks pseudo-inverse --repeat fresh --asked 16 --images 20
    """
    from privedge_lab import datasets, outputs
    from privedge_lab.baseline.presets import preset as named
    from privedge_lab.baseline.train import TrainSettings
    from privedge_lab.evaluation import figures, sheets
    from privedge_lab.evaluation.sweep import EXPERIMENT, Shown
    from privedge_lab.evaluation.sweep import measure as swept
    from privedge_lab.evaluation.sweep_plan import Plan, choices
    from privedge_lab.results.rows.sweep import SweepRow
    from privedge_lab.results.store import Results

    for picture in (figure, sheet):
        if picture is not None:
            outputs.require_replaceable(picture, outputs.PICTURE)
    found = datasets.read(data)
    plan = Plan(
        spec=named(preset, max(2, found.classes)),
        choices=choices(_names(cuts), _names(defences), _strengths(strengths or [])),
        attacks=_names(attacks),
        repeat=repeat.value,
        private=private,
        training=TrainSettings(epochs=epochs, seed=seed),
        images=images,
        known=known,
        iterations=iterations,
        attack_epochs=attack_epochs,
        asked=asked,
    )
    seen: list[Shown] = []

    def measure(results: Results, bars: Bars) -> Iterator[SweepRow]:
        parts = datasets.split(found, seed=seed)
        return swept(plan, parts, results, progress=bars, keep=seen.append)

    settings = plan.settings() | {"data": data.name}
    results = experiment.run(EXPERIMENT, settings, measure, out=out, resume=resume).results
    if sheet is not None and seen:
        rows = [("original", seen[0].originals), *((each.caption, each.found) for each in seen)]
        pictures = [(caption, images[:_SHOWN]) for caption, images in rows]
        sheets.save(sheets.captioned(pictures), sheet)
    if figure is not None:
        figures.write(results.read(SweepRow), figure)
    experiment.show_rows(results, SweepRow, as_json, _print)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _strengths(texts: list[str]) -> dict[str, tuple[float, ...]]:
    from privedge.errors import ConfigError

    found = {}
    for text in texts:
        name, _, values = text.rpartition("=")
        try:
            found[name.strip()] = tuple(float(value) for value in _names(values))
        except ValueError:
            raise ConfigError(
                f"--strengths {text}: write numbers, as in gaussian=0.2,0.5"
            ) from None
    return found


def _print(rows: list["SweepRow"]) -> None:
    lines = [f"{'cut':8} {'defence':16} {'strength':>8} {'accuracy':>8}  attack"]
    for row in rows:
        if row.psnr_db is not None:
            got = f"{row.psnr_db:.1f} dB, SSIM {shown(row.ssim, '.3f')}"
        else:
            majority = shown(row.majority, ".1%")
            got = f"{shown(row.attacker_accuracy, '.1%')}, majority {majority}"
        lines.append(
            f"{row.cut or '-':8} {row.defence or '-':16} {shown(row.strength, '8g')} "
            f"{shown(row.task_accuracy, '8.1%')}  {row.attack}: {got}"
        )
    print("\n".join(lines))
