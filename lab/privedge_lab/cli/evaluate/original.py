"""`privedge evaluate original`: the original network by its published recipe, in sittings."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import DataOption, JsonOption
from privedge.cli.train import Device
from privedge_lab.cli import experiment
from privedge_lab.cli.evaluate.options import (
    GroupOption,
    OutOption,
    PartOption,
    ResumeOption,
    TestWhereOption,
    choice_of,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.evaluation.original import Plan

_FILE = "original.json"


def register(group: typer.Typer) -> None:
    """Add `evaluate original`."""
    group.command("original")(_original)


def _original(
    data: DataOption,
    out: OutOption,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="End after this and keep what is there. Default: never."),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Of every owner's network; published: 30,000.")
    ] = 30_000,
    owners: Annotated[int, typer.Option("--owners", min=2, help="Drawn by the seed.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of split and training.")] = 0,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images a step; published: 128.")
    ] = 128,
    points: Annotated[
        int, typer.Option("--points", min=1, help="At which models are looked at.")
    ] = 40,
    beside: Annotated[
        str, typer.Option("--beside", metavar="PRESET", help="Asked the same images in the end.")
    ] = "subspace32-fine",
    group: GroupOption = None,
    test_where: TestWhereOption = None,
    part: PartOption = "test",
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="That train side by side, one core each.")
    ] = 1,
    device: Annotated[Device, typer.Option("--device", help="Where to train.")] = Device.AUTO,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the original network on each owner's images, and say how far it came.

    Published are 30,000 steps of 128 images. That takes a processor core days for each owner, so
    train where there is a GPU, in as many sittings as it takes: the same command, with --resume,
    goes on where the last one ended, by --minutes or by a signal, and comes to the same result as
    one that was never broken off. DIR keeps the curve (original.json), each owner's best model so
    far (models, in the clear) and, until all is done, what to go on with (unfinished).

    \b
    Examples:
      privedge evaluate original --data letters.npz --owners 33 --minutes 25 --resume --out gpu/
      privedge evaluate original --data letters.npz --steps 2000 --batch 16 --out original/
    """
    from privedge.user.adversarial import device_for
    from privedge_lab.evaluation.original import Plan

    choice = replace(choice_of(owners, part, group, test_where), seed=seed)
    where = device_for(device.value).type
    looked = min(points, steps)
    plan = Plan(data, choice, steps, minutes, processes, batch, looked, beside, where)
    found = _measured(plan, out, resume)
    experiment.show_summary(found, as_json, _print)


def _measured(plan: "Plan", out: Path, resume: bool) -> dict[str, Any]:
    from privedge_lab import datasets
    from privedge_lab.evaluation import original

    data = datasets.read(plan.data)
    measured = experiment.run(
        original.EXPERIMENT,
        plan.settings(),
        lambda results, bars: original.measure(plan, data, results, out, bars),
        out=experiment.file_in(out, _FILE),
        resume=resume,
    )
    (row,) = measured.found
    # The command that began the file: a training may be resumed many times.
    return row.as_stored() | measured.evidence() | {"command": measured.results.command}


def _print(found: dict[str, Any]) -> None:
    from privedge_lab.results.rows.original import OriginalRow

    row = OriginalRow.read(found)
    steps = [count for count in row.steps.values() if count is not None]
    lines = [
        f"{row.owners} owners: {min(steps):.0f} to {max(steps):.0f} steps of {row.batch} images "
        f"(published: {row.published_steps} of {row.published_batch})",
        f"{row.asked} images asked: macro recall {shown(row.macro_recall, '.3f')}",
    ]
    if not row.final:
        lines.append("not finished: the same command with --resume goes on")
    lines += [
        f"beside it, {name}: macro recall {shown(scores.macro_recall, '.3f')}"
        for name, scores in row.baselines.items()
    ]
    print("\n".join([*lines, f"rows in {found['file']}"]))
