"""`privedge attack partitioning`: a defence trained against attackers, under fresh ones."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge_lab.cli import experiment
from privedge_lab.cli.options import ResumeRowsOption, RowsOption
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.evaluation.partitioning import Mean


def register(group: typer.Typer) -> None:
    """Add `attack partitioning`."""
    group.command("partitioning")(_partitioning)


def _partitioning(
    data: Annotated[Path, typer.Option("--data", metavar="DATA.npz", help="Images with facts.")],
    task: Annotated[
        str,
        typer.Option(
            "--task",
            metavar="WHAT",
            help="The label: labels, a FACT, 'FACT>N', or FACT=N,M (whether it is one of these).",
        ),
    ] = "age>35",
    private: Annotated[
        str, typer.Option("--private", metavar="WHAT", help="What attackers are after.")
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
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror/--no-mirror", help="Train on mirrored images too; not for letters or digits."
        ),
    ] = True,
    shift: Annotated[
        int, typer.Option("--shift", min=0, max=16, help="Train on images moved by this, pixels.")
    ] = 4,
    validation: Annotated[
        bool,
        typer.Option(
            "--validation", help="Measure on a part of the training images, to choose a strength."
        ),
    ] = False,
    unseen: Annotated[
        bool,
        typer.Option(
            "--unseen",
            help="Teach attackers on images that the network never saw: half of those to train on.",
        ),
    ] = False,
    images: Annotated[
        int | None, typer.Option("--images", min=100, help="Use so many, drawn for each seed.")
    ] = None,
    out: RowsOption = None,
    resume: ResumeRowsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train with and without Privacy Partitioning, and let fresh attackers loose on what is sent.

    They guess a private fact, and reconstruct the image. Figures are means over seeds; for each
    strength, the seeds' own figures follow as a distribution.

    Choose a strength with --validation first: the test images then stay unseen until the last run.

    \b
    Examples:
      privedge attack partitioning --data faces_utk_gender_64.npz --task 'age>35' --private gender
      privedge attack partitioning --data cifar10_32.npz --task labels=2,3,4,5,6,7 \\
        --private labels=1,3,5,7,9 --preset small-guess --unseen
    """
    from privedge_lab import datasets
    from privedge_lab.baseline.train import TrainSettings
    from privedge_lab.evaluation.partitioning import EXPERIMENT, Plan, measure, summary
    from privedge_lab.results.rows.partitioning import PartitioningRow

    plan = Plan(
        task=task,
        private=private,
        defence=defence,
        network=preset,
        cut=cut,
        strengths=_numbers(strengths),
        seeds=tuple(range(first_seed, first_seed + seeds)),
        part="validation" if validation else "test",
        taught="unseen" if unseen else "training",
        images=images,
        training=TrainSettings(epochs=epochs, mirror=mirror, shift=shift),
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


def _numbers(text: str) -> tuple[float, ...]:
    from privedge.errors import ConfigError

    try:
        return tuple(float(number) for number in text.split(",") if number.strip())
    except ValueError:
        raise ConfigError(f"--strengths {text}: write numbers, as in 0.1,0.3") from None


def _table(means: "list[Mean]") -> str:
    lines = [
        "strength  task accuracy  lost  attacker above majority  through the answer alone"
        "  PSNR dB / SSIM  mean image"
    ]
    for mean in means:
        lines.append(
            f"{mean.strength:8g} {mean.task_accuracy:14.1%} {mean.task_loss_points:5.1f} "
            f"{mean.above_majority_points:15.1f} +- {mean.above_majority_plus_minus:5.1f} "
            f"{mean.floor_above_majority_points:25.1f}  "
            f"{shown(mean.psnr_db, '6.2f')} / {shown(mean.ssim, '.3f')}  "
            f"{shown(mean.mean_image_psnr_db, '5.2f')} / {shown(mean.mean_image_ssim, '.3f')}"
        )
    lines.append("attacker above majority, points: least, quartiles, greatest; each seed")
    for mean in means:
        lines.append(
            f"{mean.strength:8g}  {_points(mean.quartiles())};  {_points(mean.above_majority_each)}"
        )
    return "\n".join(lines)


def _points(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1f}" for value in values)
