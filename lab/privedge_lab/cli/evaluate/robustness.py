"""`privedge evaluate robustness`: models of clean images, asked about disturbed ones."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import DataOption, JsonOption, command_line
from privedge.cli.progress import progress_bar
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
    names,
    numbers,
    require_research,
    results_file,
)

if TYPE_CHECKING:
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.evaluation.disturbances import Disturbance

_FILE = "robustness.json"
_WIDTH = 100


def register(group: typer.Typer) -> None:
    """Add `evaluate robustness`."""
    group.command("robustness")(_robustness)


def _robustness(
    data: DataOption,
    out: OutOption,
    disturb: Annotated[
        str,
        typer.Option("--disturb", metavar="KINDS", help="With own levels, if any, as in jpeg:50:5"),
    ] = "jpeg,blur,noise,brightness",
    owners: OwnersOption = None,
    seed: SeedOption = "0",
    preset: PresetOption = "auto",
    components: ComponentsOption = None,
    steps: StepsOption = None,
    group: GroupOption = None,
    test_where: TestWhereOption = None,
    part: PartOption = "test",
    baselines: BaselinesOption = "pca,knn,cnn",
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train on clean images, ask about disturbed ones, and compare with undisturbed ones.

    Levels: jpeg a quality from 1 to 100, blur a standard deviation in pixels, noise one of 255,
    brightness a factor. Models and baselines train once a seed and are asked the same images.

    \b
    Examples:
      privedge evaluate robustness --data letters.npz --preset subspace32-fine --out letters/
      privedge evaluate robustness --data faces.npz --disturb jpeg:20:5,blur --seed 0,1 --out faces/
    """
    require_research()
    from privedge_lab.evaluation.cohort import Task
    from privedge_lab.evaluation.disturbances import chosen

    task = Task(
        data=data,
        choice=choice_of(owners, part, group, test_where),
        preset=preset,
        components=components,
        steps=steps,
        baselines=names(baselines),
    )
    found = _measured(task, chosen(disturb), numbers(seed, "seed"), out, resume)
    if as_json:
        print(json.dumps(found))
    else:
        _print(found)


def _measured(
    task: "Task", disturbances: "Sequence[Disturbance]", seeds: list[int], out: Path, resume: bool
) -> dict[str, Any]:
    from privedge_lab import datasets
    from privedge_lab.evaluation import robustness
    from privedge_lab.results.store import Results, means_by

    data = datasets.read(task.data)
    settings = task.settings()
    file, command = results_file(out, _FILE), command_line()
    results = Results(robustness.EXPERIMENT, settings, file, resume=resume, command=command)
    with progress_bar() as progress:
        rows = robustness.measure(task, disturbances, data, seeds, results, progress)
    return {
        "levels": means_by(("disturbance", "level", "preset"), rows),
        "seeds": seeds,
        "file": str(file),
        "command": command,
        "settings": settings,
    }


def _print(found: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    reference = found["levels"][0]
    baselines = list(reference["baselines"])
    titles = ("disturbed", "private", *baselines, "known")
    columns = [Column(title, no_wrap=True, justify="right") for title in titles]
    table = Table(*columns, box=box.SIMPLE)
    for level in found["levels"]:
        pairs = [(level["baselines"][name], reference["baselines"][name]) for name in baselines]
        cells = [_change(here, there) for here, there in [(level, reference), *pairs]]
        known = "-" if level["auroc_known"] is None else f"{level['auroc_known']:.3f}"
        table.add_row(f"{level['disturbance']} {level['level']:g}", *cells, known)
    seeds = ", ".join(map(str, found["seeds"]))
    print(
        f"{reference['owners']:.0f} owners, {reference['asked']:.0f} images asked, "
        f"{reference['preset']}, seeds {seeds}\n"
        "macro recall and its change against none; known: AUROC of known or not"
    )
    console = Console()
    # Figures that end in dots say nothing: a narrow terminal breaks lines instead.
    console.width = max(console.width, _WIDTH)
    console.print(table, crop=False)
    print(f"rows in {found['file']}")


def _change(here: dict[str, Any], there: dict[str, Any]) -> str:
    recall = here["macro_recall"]
    return f"{recall:.3f} {recall - there['macro_recall']:+.3f}"
