"""`privedge attack extraction`: how many labels a copy of the models takes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import DetectorOption, EncoderOption, JsonOption, without_effect
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import (
    DataOption,
    OutOption,
    ResumeOption,
    SeedOption,
    numbers,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.extraction import ExtractionRow


def register(group: typer.Typer) -> None:
    """Add `attack extraction`."""
    group.command("extraction")(_extraction)


def _extraction(
    context: typer.Context,
    data: DataOption,
    preset: Annotated[
        str, typer.Option("--preset", metavar="NAME", help="A subspace preset, for pictures.")
    ] = "subspace32",
    components: Annotated[
        str, typer.Option("--components", metavar="NUMBERS", help="Separated by commas.")
    ] = "4,16,64",
    owners: Annotated[int, typer.Option("--owners", min=2, help="Models, one a class.")] = 2,
    margin: Annotated[float, typer.Option("--margin", help="The cohort's margin.")] = 0.8,
    times: Annotated[
        str,
        typer.Option(
            "--times", metavar="NUMBERS", help="Labels to have, in safe budgets of 30 days."
        ),
    ] = "1,4,16,32",
    deployed: Annotated[
        bool,
        typer.Option("--deployed", help="Ask real parties on this machine, with and without."),
    ] = False,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    seed: SeedOption = 0,
    out: OutOption = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Copy a cohort's models from labels alone, and say how long a budget makes that last.

    Bisects lines between questions with different answers, and fits models to the borders found.
    Answers come from the plaintext fixed-point model, whose labels are those of the private one;
    with --deployed, and a set of vectors, from real parties.

    \b
    Examples:
      privedge attack extraction --data letters.npz --components 4,16,64
      privedge attack extraction --data vectors.npz --components 2 --deployed --times 1,4
    """
    from privedge.ran.public_files import PublicFiles
    from privedge_lab import encoded
    from privedge_lab.evaluation import cohort, extraction
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.evaluation.identify_parts import Choice
    from privedge_lab.results.rows.extraction import ExtractionRow
    from privedge_lab.results.store import Results

    files = PublicFiles.at(encoder=encoder, detector=detector)
    sizes = [int(each) for each in numbers(components, "--components")]
    wanted = tuple(numbers(times, "--times"))

    def measure(results: Results, bars: Bars) -> Iterator[ExtractionRow]:
        task = Task(data, Choice(seed), preset, baselines=(), files=files)
        given = cohort.read(task, bars, or_vectors=True).data
        if given.of_vectors:
            why = "the set holds vectors, and this is for pictures"
            without_effect(context, why, "preset", "encoder", "detector")
        for size in sizes:
            chosen = extraction.ExtractionSettings(
                preset, size, owners, margin, times=wanted, seed=seed, files=files
            )
            yield from extraction.measure(chosen, given, results, bars, deployed=deployed)

    found = experiment.run(
        extraction.EXPERIMENT,
        {"data": data.name} | encoded.settings(None, files),
        measure,
        out=out,
        resume=resume,
    )
    experiment.show_lines(found.results, ExtractionRow, as_json, _line)


def _line(row: "ExtractionRow") -> str:
    return (
        f"{row.preset} k={shown(row.components, '.0f')}, {row.service}, budget {row.budget}: "
        f"{shown(row.labels, ',.0f')} labels, agreement {shown(row.agreement, '.1%')} +- "
        f"{shown(row.plus_minus, '.1%')}, {shown(row.budget_days, ',.0f')} days under the safe "
        "budget"
    )
