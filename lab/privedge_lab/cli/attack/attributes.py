"""`privedge attack attributes`: what a split server learns of a private attribute."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, without_effect
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import DataOption, OutOption, ResumeOption, SeedOption
from privedge_lab.cli.split.train import RepeatChoice
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.attributes import AttributesRow


def register(group: typer.Typer) -> None:
    """Add `attack attributes`."""
    group.command("attributes")(_attributes)


def _attributes(
    context: typer.Context,
    data: DataOption,
    private: Annotated[
        str, typer.Option("--private", metavar="FACT", help="The attribute: a fact of the images.")
    ],
    task: Annotated[
        str,
        typer.Option(
            "--task", metavar="FACT", help="What the network is for: labels, a fact, or age:35."
        ),
    ] = "labels",
    preset: Annotated[str, typer.Option("--preset", metavar="NAME", help="The network.")] = "face",
    cut: Annotated[str, typer.Option("--cut", metavar="LAYER", help="Where it is cut.")] = "relu2",
    defence: Annotated[str, typer.Option("--defence", metavar="NAME", help="One.")] = "none",
    strengths: Annotated[
        str, typer.Option("--strength", metavar="NUMBERS", help="One, or a comma list.")
    ] = "0",
    repeat: Annotated[
        RepeatChoice, typer.Option("--repeat", help="Draw the same for every image, or equal ones.")
    ] = RepeatChoice.PER_INPUT,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of training.")] = 20,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fresh attackers after a private attribute, on what crosses the cut and on the logits alone.

    Three architectures with three seeds each; the strongest on the attacker's own images counts.
    FACT:VALUE is 1 where the fact is above the value.

    \b
    Example:
      privedge attack attributes --data faces_utk_gender_64.npz --task age:35 --private gender \\
        --preset face --cut relu2 --defence partitioning --strength 1
    """
    from privedge_lab import datasets
    from privedge_lab.evaluation import attributes, facts
    from privedge_lab.results.rows.attributes import AttributesRow
    from privedge_lab.results.store import Results

    if defence == "none":
        without_effect(context, "without --defence nothing is drawn", "strengths", "repeat")
    settings = {"data": data.name, "task": task, "private": private}

    def measure(results: Results, bars: Bars) -> Iterator[AttributesRow]:
        labelled = facts.with_task(datasets.read(data), task, private)
        parts = datasets.split(labelled, seed=seed)
        for strength in _numbers(strengths):
            chosen = attributes.AttributeSettings(
                private, preset, cut, defence, strength, repeat.value, epochs, seed
            )
            yield from attributes.measure(chosen, parts, results, bars)

    found = experiment.run(attributes.EXPERIMENT, settings, measure, out=out, resume=resume)
    experiment.show_lines(found.results, AttributesRow, as_json, _line)


def _numbers(listed: str) -> list[float]:
    try:
        return [float(number) for number in listed.split(",")]
    except ValueError:
        problem = "needs numbers separated by commas"
        raise typer.BadParameter(problem, param_hint="--strength") from None


def _line(row: "AttributesRow") -> str:
    return (
        f"{row.preset} {row.cut} {row.defence} {shown(row.strength, 'g')}: "
        f"{row.private} {shown(row.accuracy, '.1%')} +- {shown(row.plus_minus, '.1%')} "
        f"({row.architecture}; at most {shown(row.bound, '.1%')}), majority "
        f"{shown(row.majority, '.1%')}, {shown(row.above_majority, '+.1f', per=0.01)} points; "
        f"from the logits {shown(row.floor_accuracy, '.1%')}; "
        f"task {shown(row.task_accuracy, '.1%')}"
    )
