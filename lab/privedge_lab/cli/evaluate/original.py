"""`privedge evaluate original`: the original network, trained for as long as one allows."""

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
    minutes: Annotated[float, typer.Option("--minutes", help="Of training, all owners together.")],
    owners: Annotated[int, typer.Option("--owners", min=2, help="Drawn by the seed.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of split and training.")] = 0,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images a step; published: 128.")
    ] = 16,
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

    Published are 30,000 steps of 128 images, which takes a processor core most of a day for each
    owner. Rows say validation error and identification at points evenly spaced in time. On a CPU,
    minutes are of processor time.

    \b
    Examples:
      privedge evaluate original --data letters.npz --owners 3 --minutes 60 --out original/
      privedge evaluate original --data faces/ --minutes 30 --device cuda --batch 128 --out gpu/
    """
    from privedge.user.adversarial import device_for
    from privedge_lab.evaluation.original import Plan

    choice = replace(choice_of(owners, part, group, test_where), seed=seed)
    where = device_for(device.value).type
    plan = Plan(data, choice, minutes, processes, batch, points, beside, where)
    found = _measured(plan, out, resume)
    experiment.show_summary(found, as_json, _print)


def _measured(plan: "Plan", out: Path, resume: bool) -> dict[str, Any]:
    from privedge_lab import datasets
    from privedge_lab.evaluation import original

    data = datasets.read(plan.data)
    measured = experiment.run(
        original.EXPERIMENT,
        plan.settings(),
        lambda results, bars: original.measure(plan, data, results, out / "unfinished", bars),
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
        f"{row.owners} owners, {shown(row.seconds_each, '.1f', per=60)} minutes each: steps "
        f"{min(steps)} to {max(steps)} of {row.batch} images "
        f"(published: {row.published_steps} of {row.published_batch})",
        f"{row.asked} images asked: macro recall {shown(row.macro_recall, '.3f')}",
    ]
    lines += [
        f"beside it, {name}: macro recall {shown(scores.macro_recall, '.3f')}"
        for name, scores in row.baselines.items()
    ]
    print("\n".join([*lines, f"rows in {found['file']}"]))
