"""`privedge evaluate robustness`: models of clean images, asked about disturbed ones."""

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
    names,
    network,
    numbers,
)
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.evaluation.robustness import Request
    from privedge_lab.results.rows.robustness import RobustnessRow
    from privedge_lab.results.rows.scores import Scores

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
    """Train on clean images, ask about disturbed ones, and compare with undisturbed ones.

    Levels: jpeg a quality from 1 to 100, blur a standard deviation in pixels, noise one of 255,
    brightness a factor. Models and baselines train once a seed and are asked the same images.

    \b
    Examples:
      privedge evaluate robustness --data letters.npz --preset subspace32-fine --out letters/
      privedge evaluate robustness --data faces.npz --disturb jpeg:20:5,blur --seed 0,1 --out faces/
    """
    from privedge_lab.evaluation.disturbances import chosen
    from privedge_lab.evaluation.robustness import Request

    request = Request(
        data=data,
        choice=choice_of(owners, part, group, test_where),
        preset=preset,
        components=components,
        steps=steps,
        **network(preset, encoder, spec_file, detector),
        baselines=names(baselines),
        disturbances=tuple(chosen(disturb)),
    )
    found = _measured(request, numbers(seed, "seed"), out, resume)
    experiment.show_summary(found, as_json, _print)


def _measured(request: "Request", seeds: list[int], out: Path, resume: bool) -> dict[str, Any]:
    from privedge_lab.evaluation import cohort, robustness
    from privedge_lab.results.store import means_by

    with progress_bar() as progress:
        data = cohort.read(request, progress).data
    measured = experiment.run(
        robustness.EXPERIMENT,
        request.settings(),
        lambda results, bars: robustness.measure(request, data, seeds, results, bars),
        out=experiment.file_in(out, _FILE),
        resume=resume,
    )
    levels = means_by(("disturbance", "level", "preset"), measured.found)
    return {"levels": levels, "seeds": seeds} | measured.evidence()


def _print(found: dict[str, Any]) -> None:
    from privedge_lab.results.rows.robustness import RobustnessRow

    levels = list(map(RobustnessRow.read, found["levels"]))
    reference = levels[0]
    baselines = list(reference.baselines)
    titles = ("disturbed", "private", *baselines, "known")
    lines = []
    for level in levels:
        pairs = [(level.baselines[name], reference.baselines[name]) for name in baselines]
        cells = [_change(level, reference), *(_change(here, there) for here, there in pairs)]
        name = f"{level.disturbance} {shown(level.level, 'g')}"
        lines.append([name, *cells, shown(level.auroc_known, ".3f")])
    seeds = ", ".join(map(str, found["seeds"]))
    print(
        f"{shown(reference.owners, '.0f')} owners, {shown(reference.asked, '.0f')} images asked, "
        f"{reference.preset}, seeds {seeds}\n"
        "macro recall and its change against none; known: AUROC of known or not"
    )
    experiment.table(titles, lines, least_width=_WIDTH, figures=True)
    print(f"rows in {found['file']}")


def _change(here: "RobustnessRow | Scores", there: "RobustnessRow | Scores") -> str:
    recall, before = here.macro_recall, there.macro_recall
    change = None if recall is None or before is None else recall - before
    return f"{shown(recall, '.3f')} {shown(change, '+.3f')}"
