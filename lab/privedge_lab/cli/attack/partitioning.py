"""`privedge attack partitioning`: a defence trained against attackers, under fresh ones."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge_lab.cli import experiment
from privedge_lab.cli.options import ResumeRowsOption, RowsOption

if TYPE_CHECKING:
    from privedge_lab.evaluation.partitioning import Mean, Task


def register(group: typer.Typer) -> None:
    """Add `attack partitioning`."""
    group.command("partitioning")(_partitioning)


def _partitioning(
    data: Annotated[Path, typer.Option("--data", metavar="DATA.npz", help="Images with facts.")],
    task: Annotated[
        str, typer.Option("--task", metavar="FACT>N", help="The label: whether FACT is above N.")
    ] = "age>35",
    private: Annotated[
        str, typer.Option("--private", metavar="FACT", help="What attackers are after.")
    ] = "gender",
    defence: Annotated[
        str,
        typer.Option("--defence", metavar="NAME", help="partitioning or balanced-partitioning."),
    ] = "balanced-partitioning",
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="The network.")
    ] = "face-guess",
    cut: Annotated[
        str, typer.Option("--cut", metavar="LAYER", help="The last layer on the device.")
    ] = "guess",
    strengths: Annotated[
        str, typer.Option("--strengths", metavar="X,Y", help="Beside 0, which is no defence.")
    ] = "0.65",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Splits and trainings.")] = 3,
    first_seed: Annotated[
        int, typer.Option("--first-seed", min=0, help="The seeds are those from here on.")
    ] = 0,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of the network.")] = 25,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation", help="Measure on a part of the training images, to choose a strength."
        ),
    ] = False,
    out: RowsOption = None,
    resume: ResumeRowsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train with and without Privacy Partitioning, and let fresh attackers guess a private fact.

    Choose a strength with --validation first: the test images then stay unseen until the last run.

    \b
    Example:
      privedge attack partitioning --data faces_utk_gender_64.npz --task 'age>35' --private gender
    """
    from privedge_lab import datasets
    from privedge_lab.baseline.train import TrainSettings
    from privedge_lab.evaluation.partitioning import EXPERIMENT, Plan, measure, summary
    from privedge_lab.results.rows.partitioning import PartitioningRow

    plan = Plan(
        task=_task(task, private),
        defence=defence,
        network=preset,
        cut=cut,
        strengths=_numbers(strengths),
        seeds=tuple(range(first_seed, first_seed + seeds)),
        part="validation" if validation else "test",
        training=TrainSettings(epochs=epochs, mirror=True, shift=4),
    )
    measured = experiment.run(
        EXPERIMENT,
        plan.settings() | {"data": data.name},
        lambda results, bars: measure(plan, datasets.read(data), results, progress=bars),
        out=out,
        resume=resume,
    )
    means = summary(measured.results.read(PartitioningRow))
    if as_json:
        found = measured.results.document() | {"summary": list(map(asdict, means))}
        print(json.dumps(found))
    else:
        print(_table(means))


def _task(text: str, private: str) -> "Task":
    from privedge.errors import ConfigError
    from privedge_lab.evaluation.partitioning import Task

    fact, _, above = text.partition(">")
    try:
        return Task(fact.strip(), int(above), private)
    except ValueError:
        raise ConfigError(f"--task {text}: write a fact and a whole number, as age>35") from None


def _numbers(text: str) -> tuple[float, ...]:
    from privedge.errors import ConfigError

    try:
        return tuple(float(number) for number in text.split(",") if number.strip())
    except ValueError:
        raise ConfigError(f"--strengths {text}: write numbers, as in 0.1,0.3") from None


def _table(means: "list[Mean]") -> str:
    lines = ["strength  task accuracy  lost  attacker above majority  through the answer alone"]
    for mean in means:
        lines.append(
            f"{mean.strength:8g} {mean.task_accuracy:14.1%} {mean.task_loss_points:5.1f} "
            f"{mean.above_majority_points:24.1f} {mean.floor_above_majority_points:25.1f}"
        )
    return "\n".join(lines)
