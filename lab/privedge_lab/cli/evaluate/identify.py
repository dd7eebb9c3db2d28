"""`privedge evaluate identify`: whose image is it, measured. Only an experiment sees all images."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from privedge.cli.options import DataOption, JsonOption, ProcessesOption, SkipBadOption
from privedge.cli.progress import Bars
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
    names,
    numbers,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.evaluation.identify import Request
    from privedge_lab.results.rows.identify import IdentifyRow

_FILE = "identify.json"


def register(group: typer.Typer) -> None:
    """Add `evaluate identify`."""
    group.command("identify")(_identify)


def _identify(
    data: DataOption,
    out: OutOption,
    skip_bad: SkipBadOption = False,
    owners: OwnersOption = None,
    seed: SeedOption = "0",
    preset: PresetOption = "auto",
    components: ComponentsOption = None,
    steps: StepsOption = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", metavar="plain|fixed|fused", help="Whose answers the figures are of."
        ),
    ] = "plain",
    queries: Annotated[
        int, typer.Option("--queries", min=1, help="Images engines are compared on, or fused asks.")
    ] = 100,
    group: GroupOption = None,
    test_where: TestWhereOption = None,
    part: PartOption = "test",
    words: Annotated[
        int, typer.Option("--words", min=0, help="Also vote over so many images of one page.")
    ] = 0,
    baselines: BaselinesOption = "pca,knn,cnn",
    processes: ProcessesOption = None,
    keep_models: Annotated[
        bool,
        typer.Option("--keep-models", help="Leave models, in the clear, in DIR/models."),
    ] = False,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train an owner's model per class, ask whose the other images are, and compare.

    Figures are means over the seeds. `auroc_known`: half of the owners registered, the others
    strangers, told apart by the best error, compared with the second best and the mean of all. What
    takes training steps is trained side by side, and --resume goes on with the owners that are
    missing.

    \b
    Examples:
      privedge evaluate identify --data letters.npz --preset subspace32-fine --out letters/
      privedge evaluate identify --data words.npz --group document --words 5 --out words/ --seed 0,1
    """
    from privedge_lab.evaluation.identify import Request

    request = Request(
        data=data,
        choice=choice_of(owners, part, group, test_where),
        preset=preset,
        components=components,
        steps=steps,
        engine=engine,
        baselines=names(baselines),
        queries=queries,
        words=words,
    )
    seeds = numbers(seed, "seed")
    found = _measured(request, seeds, out, resume, _Training(processes, keep_models, skip_bad))
    experiment.show_summary(found, as_json, _print)


class _Training(NamedTuple):
    processes: int | None
    keep: bool
    skip_bad: bool


def _measured(
    request: "Request", seeds: Sequence[int], out: Path, resume: bool, chosen: _Training
) -> dict[str, Any]:
    from privedge.user.many import cores
    from privedge_lab import datasets
    from privedge_lab.evaluation import identify
    from privedge_lab.evaluation.cohort import Training
    from privedge_lab.results.store import Results, summary

    data = datasets.read(request.data, skip_bad=chosen.skip_bad)

    def measure(results: Results, bars: Bars) -> "Iterator[IdentifyRow]":
        training = Training(
            folder=out / "models",
            processes=chosen.processes or cores(),
            keep=chosen.keep,
            resume=resume,
            watch=bars.owner,
        )
        return identify.measure(request, data, seeds, results, bars, training)

    measured = experiment.run(
        identify.EXPERIMENT,
        request.settings(),
        measure,
        out=experiment.file_in(out, _FILE),
        resume=resume,
    )
    rows = measured.found
    named = {"preset": rows[0].preset, "seeds": list(seeds)}
    return summary(rows) | named | measured.evidence()


def _print(found: dict[str, Any]) -> None:
    from privedge_lab.results.rows.identify import IdentifyRow

    mean, settings = IdentifyRow.read(found), found["settings"]
    lines = [
        f"{shown(mean.owners, '.0f')} owners, {shown(mean.asked, '.0f')} images asked, "
        f"{mean.preset}, engine {settings['engine']}, seeds {', '.join(map(str, found['seeds']))}",
        f"macro recall {shown(mean.macro_recall, '.3f')}, macro precision "
        f"{shown(mean.macro_precision, '.3f')}, accuracy {shown(mean.accuracy, '.3f')}, top 3 "
        f"{shown(mean.top3, '.3f')}",
    ]
    if mean.voting is not None:
        recall = shown(mean.voting.macro_recall, ".3f")
        lines.append(f"voting over {settings['words']}: macro recall {recall}")
    if mean.auroc_known is not None and mean.known is not None:
        known = mean.known
        lines.append(
            f"known or not: AUROC {mean.auroc_known:.3f}, {shown(known.auroc_margin, '.3f')} by "
            f"the second best alone, {shown(known.auroc_best, '.3f')} by the best error; at the "
            f"owners' thresholds precision {shown(known.precision, '.2f')}, recall "
            f"{shown(known.recall, '.2f')}"
        )
    lines += [
        f"baseline {name}: macro recall {shown(scores.macro_recall, '.3f')}"
        for name, scores in mean.baselines.items()
    ]
    agreement = mean.agreement.to_json() if mean.agreement is not None else {}
    same = {name: value for name, value in agreement.items() if name != "queries"}
    lines += [f"agreement {name.replace('_', ' ')}: {value:.4g}" for name, value in same.items()]
    if mean.bytes_per_query is not None:
        lines.append(
            f"a private query: {mean.bytes_per_query / 1e3:.1f} kB, "
            f"{shown(mean.seconds_per_query, '.3f')} s"
        )
    seconds = shown(mean.seconds, ".1f")
    print("\n".join([*lines, f"{seconds} s a seed; rows in {found['file']}"]))
