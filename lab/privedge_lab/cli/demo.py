"""`privedge demo`: the whole system on real digits or faces, on this machine."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.ending import nothing_left_running
from privedge.cli.options import DetectorOption, EncoderOption, JsonOption, path
from privedge.cli.progress import phase_bars
from privedge.errors import ConfigError
from privedge.ran import face

if TYPE_CHECKING:
    from privedge_lab.demo.run import Outcome

# What `run` says it is doing -> what the bar says.
_PHASES = {
    "train": "owners train",
    "start": "servers start",
    "upload": "owners upload",
    "ask": "client asks",
}


def register(app: typer.Typer) -> None:
    """Add `demo`."""
    app.command("demo")(_demo)


def _demo(
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="The models' architecture; default ran32-fine, or face.",
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(
            "--queries", min=1, help="Test images to ask; default 100, or all faces if fewer."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FOLDER", help="Where the page and summary go.")
    ] = Path("build/demo"),
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of the test images and the trainings.")
    ] = 0,
    faces: Annotated[
        bool, typer.Option("--faces", help="Faces in place of digits; needs make face-recipe.")
    ] = False,
    people: Annotated[
        Path | None,
        typer.Option(
            "--people",
            metavar="DIR|FILE.npz",
            parser=path,
            help="For --faces: a folder of photographs for each person; default: the recipe's.",
        ),
    ] = None,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train ten owners' models on real digits, share them, and ask test images privately.

    Starts the dealer and both parties as processes on this machine and stops them again. Writes
    summary.json, index.html and the servers' logs. With --faces, the files of make face-recipe are
    looked for in build/faces, or beside the encoder that is named.

    \b
    Examples:
      privedge demo
      privedge demo --preset subspace32 --queries 30 --out /tmp/demo
      privedge demo --faces
      privedge demo --faces --people people/ --encoder faces/encoder.onnx
    """
    from privedge.ran.public_files import PublicFiles
    from privedge_lab.demo import digits, files, run
    from privedge_lab.demo import faces as photographs

    if faces:
        found = photographs.source(encoder, detector, people)
        task = photographs.task(preset or face.NAME, queries, seed, found)
    elif people is not None or detector is not None:
        raise ConfigError("--people and --detector are for faces: add --faces")
    else:
        task = digits.task(preset or "ran32-fine", queries, seed, PublicFiles.at(encoder=encoder))
    plan = run.Plan(task=task, seed=seed, out=out)
    files.prepare(out)
    with nothing_left_running(), phase_bars(_PHASES) as progress:
        outcome = run.run(plan, progress)
    page = files.write(outcome)
    _print(outcome, page, as_json)


def _print(outcome: "Outcome", page: Path, as_json: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from privedge_lab.demo import report

    if as_json:
        print(json.dumps(asdict(report.summary(outcome))))
        return
    results = Table(box=box.SIMPLE, show_header=False)
    for line in report.lines(outcome):
        results.add_row(line.name, line.value, line.note)
    sights = Table("who", "has seen", "has not seen", box=box.SIMPLE)
    for sight in report.sights(outcome):
        sights.add_row(sight.who, sight.saw, sight.never)
    console = Console()
    console.print(f"{report.title(outcome)}, in {outcome.seconds:.0f} s", style="bold")
    console.print(results, sights)
    console.print(report.COLLUSION + "\n")
    console.print(report.ONE_MACHINE + "\n")
    console.print(f"Pictures: {page}", soft_wrap=True)
