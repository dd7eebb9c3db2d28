"""`privedge evaluate scale`: accuracy and private cost against the number of owners."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import (
    DataOption,
    DetectorOption,
    EncoderOption,
    JsonOption,
    SpecOption,
    UnitLengthOption,
    without_effect,
)
from privedge.cli.progress import progress_bar
from privedge_lab.cli import experiment
from privedge_lab.cli.evaluate.options import (
    ComponentsOption,
    GroupOption,
    OutOption,
    PartOption,
    PresetOption,
    ResumeOption,
    SeedOption,
    StepsOption,
    TestWhereOption,
    choice_of,
    network,
    numbers,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.evaluation.scale import Request

_FILE = "scale.json"
_ALL = "all"


def register(group: typer.Typer) -> None:
    """Add `evaluate scale`."""
    group.command("scale")(_scale)


def _scale(
    context: typer.Context,
    data: DataOption,
    out: OutOption,
    owners: Annotated[
        str, typer.Option("--owners", metavar="NUMBERS", help="With commas; `all` is a number.")
    ] = "5,10,20,all",
    seed: SeedOption = "0",
    preset: PresetOption = "auto",
    components: ComponentsOption = None,
    unit_length: UnitLengthOption = None,
    steps: StepsOption = None,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    spec_file: SpecOption = None,
    group: GroupOption = None,
    test_where: TestWhereOption = None,
    part: PartOption = "test",
    private: Annotated[
        bool, typer.Option("--private/--no-private", help="Also ask real servers on this machine.")
    ] = True,
    queries: Annotated[
        int, typer.Option("--queries", min=1, help="Private queries that count, at each number.")
    ] = 20,
    resume: ResumeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell 5, 10, 20, ... owners apart, ask them privately, and fit how both grow.

    Every owner trains once a seed. A smaller cohort is part of every larger one, so that the number
    of owners alone changes.

    \b
    Examples:
      privedge evaluate scale --data letters.npz --preset subspace32-fine --out scale/
      privedge evaluate scale --data faces.npz --owners 5,50 --no-private --seed 0,1 --out s/
    """
    from privedge_lab.evaluation.scale import Request

    if not private:
        without_effect(context, "counts private queries, and --no-private asks none", "queries")
    request = Request(
        data=data,
        choice=choice_of(None, part, group, test_where),
        preset=preset,
        components=components,
        unit_length=unit_length,
        steps=steps,
        **network(preset, encoder, spec_file, detector),
        baselines=(),
        sizes=_sizes(owners),
        private=private,
        queries=queries,
    )
    found = _measured(request, numbers(seed, "seed"), out, resume)
    experiment.show_summary(found, as_json, _print)


def _sizes(text: str) -> tuple[int | None, ...]:
    given = [part for part in text.split(",") if part != _ALL]
    every: tuple[int | None, ...] = (None,) if _ALL in text.split(",") else ()
    return (*numbers(",".join(given), "owners"), *every) if given else every


def _measured(request: "Request", seeds: Sequence[int], out: Path, resume: bool) -> dict[str, Any]:
    from privedge_lab.evaluation import cohort, growth, scale
    from privedge_lab.results.store import summary

    with progress_bar() as progress:
        data = cohort.read(request, progress, or_vectors=True).data
    measured = experiment.run(
        scale.EXPERIMENT,
        request.settings(),
        lambda results, bars: scale.measure(request, data, seeds, results, bars),
        out=experiment.file_in(out, _FILE),
        resume=resume,
    )
    rows = measured.found
    sizes = dict.fromkeys(row.owners for row in rows)
    return {
        "preset": rows[0].preset,
        "sizes": [
            summary([row for row in rows if row.owners == size]) | {"owners": size}
            for size in sizes
        ],
        "fit": growth.fitted(rows),
        "seeds": list(seeds),
    } | measured.evidence()


def _print(found: dict[str, Any]) -> None:
    from privedge_lab.results.rows.scale import ScaleRow

    lines = [f"{found['preset']}, seeds {', '.join(map(str, found['seeds']))}"]
    for each in found["sizes"]:
        row = ScaleRow.read(each)
        told = "" if row.auroc_known is None else f", AUROC known {row.auroc_known:.3f}"
        lines.append(
            f"{row.owners} owners: macro recall {shown(row.macro_recall, '.3f')}, accuracy "
            f"{shown(row.accuracy, '.3f')} (chance {shown(row.chance, '.3f')}){told}"
        )
        if row.private is not None:
            cost = row.private
            lines.append(
                f"  a private query: {shown(cost.online_s, '.1f', per=1e-3)} ms online, "
                f"{shown(cost.bytes_per_query, '.1f', per=1e3)} kB, "
                f"{shown(cost.rounds, '.0f')} rounds, "
                f"{shown(cost.offline_cpu_s, '.1f', per=1e-3)} ms of the dealer's CPU"
            )
    print("\n".join([*lines, *found["fit"]["sentences"], f"Rows in {found['file']}"]))
