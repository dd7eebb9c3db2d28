"""`privedge attack attributes`: what a split server learns of a private attribute."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import (
    DetectorOption,
    EncoderOption,
    JsonOption,
    SpecOption,
    without_effect,
)
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import DataOption, OutOption, ResumeOption, SeedOption
from privedge_lab.cli.evaluate.options import network
from privedge_lab.cli.split.train import RepeatChoice
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge.progress import Progress
    from privedge_lab.datasets import Labelled
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.results.rows.attributes import AttributesRow

# The layers behind an encoder are not looked at.
_BEHIND = "subspace-encoder"


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
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    spec_file: SpecOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fresh attackers after a private attribute, on what crosses the cut and on the logits alone.

    Three architectures with three seeds each; the strongest on the attacker's own images counts.
    FACT:VALUE is 1 where the fact is above the value. With --encoder, what crosses are its features
    of pictures, and with a set of vectors, these; the server's part is then a linear classifier.

    \b
    Examples:
      privedge attack attributes --data faces_utk_gender_64.npz --task age:35 --private gender \\
        --preset face --cut relu2 --defence partitioning --strength 1
      privedge attack attributes --data faces_utk_gender_64.npz --private gender \\
        --task age:35 --encoder encoder.onnx --detector detector.onnx
    """
    from privedge_lab import datasets, encoded
    from privedge_lab.evaluation import attributes, facts
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.evaluation.identify_parts import Choice
    from privedge_lab.results.rows.attributes import AttributesRow
    from privedge_lab.results.store import Results

    if defence == "none":
        without_effect(context, "without --defence nothing is drawn", "strengths", "repeat")
    fields = network(_BEHIND, encoder, spec_file, detector, usual=_BEHIND)
    settings = {"data": data.name, "task": task, "private": private}
    settings |= encoded.settings(fields["spec"], fields["files"])

    def measure(results: Results, bars: Bars) -> Iterator[AttributesRow]:
        given, name = _given(Task(data, Choice(seed), _BEHIND, baselines=(), **fields), bars)
        parts = datasets.split(facts.with_task(given, task, private), seed=seed)
        if given.of_vectors:
            idle = ("preset", "cut", "defence", "strengths", "repeat", "epochs")
            without_effect(context, "vectors cross as they are, and no network is cut", *idle)
            whole = attributes.AttributeSettings(private, name, attributes.FEATURES, epochs=0)
            yield from attributes.measure(replace(whole, seed=seed), parts, results, bars)
            return
        for strength in _numbers(strengths):
            chosen = attributes.AttributeSettings(
                private, preset, cut, defence, strength, repeat.value, epochs, seed
            )
            yield from attributes.measure(chosen, parts, results, bars)

    found = experiment.run(attributes.EXPERIMENT, settings, measure, out=out, resume=resume)
    experiment.show_lines(found.results, AttributesRow, as_json, _line)


def _given(task: "Task", progress: "Progress") -> "tuple[Labelled, str]":
    """The set as it crosses whole: vectors, or features behind an encoder; and what these are of.

    Without an encoder, pictures are returned as they are.
    """
    import torch

    from privedge.errors import ConfigError
    from privedge.ran.named_spec import spec_named
    from privedge.ran.presets import VECTOR
    from privedge.ran.public_files import NO_FILES
    from privedge_lab import encoded
    from privedge_lab.evaluation import cohort
    from privedge_lab.evaluation.identify_parts import inputs_of

    found = cohort.read(task, progress, or_vectors=True).data
    if task.spec is not None:
        encoded.require_wanted(task.spec, task.files)
    if found.of_vectors or task.files.encoder is None:
        if task.spec is not None or task.files != NO_FILES:
            raise ConfigError("encoder, detector, spec: for features of pictures, by an encoder")
        return found, VECTOR
    channels, height, width = found.images.shape[1:]
    spec = task.spec or spec_named(
        task.preset, height=height, width=width, channels=channels, files=task.files
    )
    features = cohort.features_of(spec, inputs_of(found), task.files)
    return replace(found, images=torch.from_numpy(features.reshape(len(features), -1))), spec.name


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
