"""`privedge evaluate fairness`: what a model that reconstructs too much wins of others' images."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import DataOption, JsonOption, command_line
from privedge.cli.progress import progress_bar
from privedge_lab.cli.evaluate.options import (
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
    results_file,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.evaluation.fairness import Request

_FILE = "fairness.json"
_WIDTH = 100


def register(group: typer.Typer) -> None:
    """Add `evaluate fairness`."""
    group.command("fairness")(_fairness)


def _fairness(
    data: DataOption,
    out: OutOption,
    owners: OwnersOption = None,
    seed: SeedOption = "0",
    preset: PresetOption = "auto",
    components: ComponentsOption = None,
    steps: StepsOption = None,
    group: GroupOption = None,
    test_where: TestWhereOption = None,
    part: PartOption = "test",
    thieves: Annotated[
        str,
        typer.Option(
            "--thieves",
            metavar="NAMES|none",
            help="Of identity, wide2, wide4, pooled, public, stretched; default all that fit.",
        ),
    ] = "",
    tries: Annotated[
        int, typer.Option("--tries", min=1, help="Owners in whose place each thief is put.")
    ] = 3,
    probes: Annotated[
        Path | None,
        typer.Option(
            "--probes", metavar="FILE.npz", help="Public images; some are made up without."
        ),
    ] = None,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put a model that reconstructs too much in an owner's place: whose images does it win?

    Nothing in the least reconstruction error asks whether a model knows its owner's images only.
    `admitted`: the parties take it. Calibrations and the audit are measured, and not part of the
    protocol; in brackets the thief's mean error on public images, over the cohort's median.

    \b
    Examples:
      privedge evaluate fairness --data letters.npz --preset subspace32-fine --out fairness/
      privedge evaluate fairness --data faces.npz --thieves identity,pooled --tries 5 --out f/
    """
    from privedge_lab.evaluation.fairness import Request

    request = Request(
        data=data,
        choice=choice_of(owners, part, group, test_where),
        preset=preset,
        components=components,
        steps=steps,
        baselines=(),
        thieves=names(thieves) if thieves else None,
        tries=tries,
        probes=probes,
    )
    found = _measured(request, numbers(seed, "seed"), out, resume)
    if as_json:
        print(json.dumps(found))
        return
    _print(found)


def _measured(request: "Request", seeds: Sequence[int], out: Path, resume: bool) -> dict[str, Any]:
    from privedge_lab import datasets
    from privedge_lab.evaluation import fairness
    from privedge_lab.results.store import Results, means_by

    data = datasets.read(request.data)
    settings = request.settings()
    path = results_file(out, _FILE)
    results = Results(fairness.EXPERIMENT, settings, path, resume=resume, command=command_line())
    with progress_bar() as progress:
        rows = list(fairness.measure(request, data, seeds, results, progress))
    return {
        "thieves": means_by(("thief", "calibration"), rows),
        "seeds": list(seeds),
        "file": str(path),
        "command": command_line(),
        "settings": settings,
    }


def _print(found: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    from privedge_lab.results.rows.fairness import FairnessRow

    titles = ("thief", "components", "admitted", "calibration", "steals", "macro recall", "audit")
    table = Table(*(Column(title, no_wrap=True) for title in titles), box=box.SIMPLE)
    for each in found["thieves"]:
        row = FairnessRow.read(each)
        table.add_row(
            row.thief,
            shown(row.components, ".0f"),
            # The mean of a fact that is the same in all rows.
            "yes" if each["admitted"] else "no",
            row.calibration,
            shown(row.steal_rate, ".1%"),
            shown(row.macro_recall, ".3f"),
            f"refuses {shown(row.audit_refused_share, '.0%')} ({shown(row.audit_ratio, '.2f')})",
        )
    # Figures that end in dots say nothing: a narrow terminal breaks lines instead.
    Console(width=max(Console().width, _WIDTH)).print(table)
    print(f"Rows in {found['file']}")
