"""`privedge evaluate bias`: owners that train on few images, or on images of one kind only."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import DataOption, DetectorOption, EncoderOption, JsonOption, SpecOption
from privedge.cli.progress import progress_bar
from privedge_lab.cli import experiment
from privedge_lab.cli.evaluate.options import (
    BaselinesOption,
    ComponentsOption,
    GroupOption,
    OutOption,
    OwnersOption,
    PartOption,
    PresetOption,
    ResumeOption,
    SeedOption,
    StepsOption,
    TestWhereOption,
    choice_of,
    fact_and_value,
    names,
    network,
    numbers,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.datasets import Labelled
    from privedge_lab.evaluation.bias import Bias, Request
    from privedge_lab.results.rows.bias import BiasRow, Trained

_FILE = "bias.json"
_WIDTH = 90


def register(group: typer.Typer) -> None:
    """Add `evaluate bias`."""
    group.command("bias")(_bias)


def _bias(
    data: DataOption,
    out: OutOption,
    per_owner: Annotated[
        str, typer.Option("--per-owner", metavar="COUNTS", help="Images an owner, as in 5,20,all.")
    ] = "",
    train_fact: Annotated[
        str, typer.Option("--train-fact", metavar="FACTS", help="Each value of it in turn.")
    ] = "",
    train_where: Annotated[
        str,
        typer.Option("--train-where", metavar="FACT=VALUE", help="That value only; a comma list."),
    ] = "",
    owners: OwnersOption = None,
    seed: SeedOption = "0",
    preset: PresetOption = "auto",
    components: ComponentsOption = None,
    steps: StepsOption = None,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    spec_file: SpecOption = None,
    group: GroupOption = None,
    test_where: TestWhereOption = None,
    part: PartOption = "test",
    baselines: BaselinesOption = "pca,knn,cnn",
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train on few images, or on those with one value of a fact, and ask about all kinds.

    With a value of a fact: asked are images with other values, and apart from them those with the
    same one. `mixed` trains on as many images of all values. A value of which an owner has too few
    images is left out, and named.

    \b
    Examples:
      privedge evaluate bias --data letters.npz --per-owner 5,10,20,50,all --out few/
      privedge evaluate bias --data words.npz --train-fact document --seed 0,1 --out page/
    """
    from privedge_lab.evaluation import cohort
    from privedge_lab.evaluation.bias import Request

    request = Request(
        data=data,
        choice=choice_of(owners, part, group, test_where),
        preset=preset,
        components=components,
        steps=steps,
        **network(preset, encoder, spec_file, detector),
        baselines=names(baselines),
    )
    seeds = numbers(seed, "seed")
    with progress_bar() as progress:
        labelled = cohort.read(request, progress).data
    biases = (*_counts(per_owner), *_values(labelled, train_fact, train_where))
    request = replace(request, biases=biases)
    found = _measured(request, labelled, seeds, experiment.file_in(out, _FILE), resume)
    experiment.show_summary(found, as_json, _print)


def _counts(text: str) -> "Iterator[Bias]":
    from privedge_lab.evaluation.bias import IMAGES, Bias

    for count in text.split(",") if text else ():
        yield Bias(IMAGES, None if count == "all" else numbers(count, "per-owner")[0])


def _values(data: "Labelled", facts: str, wheres: str) -> "Iterator[Bias]":
    from privedge_lab.evaluation.bias import Bias, each_value

    for fact in facts.split(",") if facts else ():
        yield from each_value(data, fact)
    for where in wheres.split(",") if wheres else ():
        yield Bias(*fact_and_value(where, "train-where"))


def _measured(
    request: "Request", data: "Labelled", seeds: list[int], file: Path, resume: bool
) -> dict[str, Any]:
    from privedge.errors import ConfigError
    from privedge_lab.evaluation import bias
    from privedge_lab.results.store import means_by

    if not request.biases:
        raise ConfigError("bias: give --per-owner, --train-fact or --train-where")
    skipped: list[dict[str, Any]] = []
    measured = experiment.run(
        bias.EXPERIMENT,
        request.settings(),
        lambda results, bars: bias.measure(request, data, seeds, results, bars, skipped.append),
        out=file,
        resume=resume,
    )
    biases = means_by(("bias", "value"), measured.found)
    return {"biases": biases, "skipped": skipped, "seeds": seeds} | measured.evidence()


def _print(found: dict[str, Any]) -> None:
    from privedge_lab.results.rows.bias import BiasRow

    biases = list(map(BiasRow.read, found["biases"]))
    baselines = list(biases[0].baselines)
    titles = ("trained on", "images", "asked about", "private", "mixed", *baselines)
    lines: list[list[str]] = []
    for row in biases:
        mixed = row.mixed
        about = "all" if row.bias == "images" else "others"
        name = f"{row.bias} {'all' if row.value is None else row.value}"
        lines.append([name, shown(row.trained_on, ".0f"), about, *_recalls(row, mixed)])
        if row.same is not None:
            same = None if mixed is None else mixed.same
            lines.append(["", "", "the same", *_recalls(row.same, same)])
    seeds = ", ".join(map(str, found["seeds"]))
    print(f"macro recall, {shown(biases[0].owners, '.0f')} owners, seeds {seeds}")
    experiment.table(titles, lines, least_width=_WIDTH)
    for each in found["skipped"]:
        print(f"left out (seed {each['seed']}): {each['reason']}")
    print(f"rows in {found['file']}")


def _recalls(row: "BiasRow | Trained", mixed: "Trained | None") -> list[str]:
    recalls = (row.macro_recall, None if mixed is None else mixed.macro_recall)
    others = (scores.macro_recall for scores in row.baselines.values())
    return [shown(recall, ".3f") for recall in (*recalls, *others)]
