"""`privedge evaluate fairness`: what a model that reconstructs too much wins of others' images."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import DataOption, DetectorOption, EncoderOption, JsonOption, SpecOption
from privedge.cli.progress import progress_bar
from privedge_lab.cli import experiment
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
    network,
    numbers,
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
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    spec_file: SpecOption = None,
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
        **network(preset, encoder, spec_file, detector),
        baselines=(),
        thieves=names(thieves) if thieves else None,
        tries=tries,
        probes=probes,
    )
    found = _measured(request, numbers(seed, "seed"), out, resume)
    experiment.show_summary(found, as_json, _print)


def _measured(request: "Request", seeds: Sequence[int], out: Path, resume: bool) -> dict[str, Any]:
    from privedge_lab.evaluation import cohort, fairness
    from privedge_lab.results.store import means_by

    with progress_bar() as progress:
        data = cohort.read(request, progress).data
    measured = experiment.run(
        fairness.EXPERIMENT,
        request.settings(),
        lambda results, bars: fairness.measure(request, data, seeds, results, bars),
        out=experiment.file_in(out, _FILE),
        resume=resume,
    )
    thieves = means_by(("thief", "calibration"), measured.found)
    return {"thieves": thieves, "seeds": list(seeds)} | measured.evidence()


def _print(found: dict[str, Any]) -> None:
    titles = ("thief", "components", "admitted", "calibration", "steals", "macro recall", "audit")
    experiment.table(titles, map(_line, found["thieves"]), least_width=_WIDTH)
    print(f"Rows in {found['file']}")


def _line(mean: dict[str, Any]) -> tuple[str | None, ...]:
    from privedge_lab.results.rows.fairness import FairnessRow

    row = FairnessRow.read(mean)
    return (
        row.thief,
        shown(row.components, ".0f"),
        # The mean of a fact that is the same in all rows.
        "yes" if mean["admitted"] else "no",
        row.calibration,
        shown(row.steal_rate, ".1%"),
        shown(row.macro_recall, ".3f"),
        f"refuses {shown(row.audit_refused_share, '.0%')} ({shown(row.audit_ratio, '.2f')})",
    )
