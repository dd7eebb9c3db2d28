"""`privedge evaluate identify`: whose image is it, measured. Only an experiment sees all images."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from privedge.cli.options import (
    DataOption,
    DetectorOption,
    EncoderOption,
    JsonOption,
    ProcessesOption,
    RivalsOption,
    SkipBadOption,
    SpecOption,
    UnitLengthOption,
)
from privedge.cli.progress import Bars, progress_bar
from privedge.errors import ConfigError
from privedge_lab.cli import experiment
from privedge_lab.cli.evaluate.options import (
    ComponentsOption,
    GroupOption,
    KeptOption,
    PartOption,
    PhotosOption,
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
    from privedge_lab.evaluation.identify import Request
    from privedge_lab.results.rows.identify import IdentifyRow

_FILE = "identify.json"


def register(group: typer.Typer) -> None:
    """Add `evaluate identify`."""
    group.command("identify")(_identify)


def _identify(
    data: DataOption,
    out: KeptOption = None,
    skip_bad: SkipBadOption = False,
    owners: Annotated[
        int | None,
        typer.Option(
            "--owners", min=1, help="Classes drawn by the seed; default all. 1 needs --rivals."
        ),
    ] = None,
    seed: SeedOption = "0",
    preset: PresetOption = "auto",
    components: ComponentsOption = None,
    unit_length: UnitLengthOption = None,
    steps: StepsOption = None,
    adversarial_weight: Annotated[
        float | None,
        typer.Option(
            "--adversarial-weight", min=0, help="Of a network's training, if not the preset's."
        ),
    ] = None,
    adversarial_loss: Annotated[
        str | None,
        typer.Option(
            "--adversarial-loss",
            metavar="least-squares|hinge|features",
            help="Of a network's training; default least-squares.",
        ),
    ] = None,
    encoder: EncoderOption = None,
    detector: DetectorOption = None,
    spec_file: SpecOption = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", metavar="plain|fixed|fused", help="Whose answers the figures are of."
        ),
    ] = "plain",
    queries: Annotated[
        int, typer.Option("--queries", min=1, help="Images engines are compared on, or fused asks.")
    ] = 100,
    photos: PhotosOption = None,
    group: GroupOption = None,
    test_where: TestWhereOption = None,
    part: PartOption = "test",
    words: Annotated[
        int, typer.Option("--words", min=0, help="Also vote over so many images of one page.")
    ] = 0,
    strangers: Annotated[
        Path | None,
        typer.Option(
            "--strangers",
            metavar="FILE",
            help="A set of strangers' images; without it, half of the owners are strangers.",
        ),
    ] = None,
    rivals: RivalsOption = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Of the cohort; FAR and TAR at it. Of the preset face: 0.7."),
    ] = None,
    baselines: Annotated[
        str | None,
        typer.Option(
            "--baselines",
            metavar="NAMES|none",
            help="Of pca, knn, cnn, paper:STEPS; default the first three, but none for faces, and "
            "knn alone, which can be, for vectors.",
        ),
    ] = None,
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
    strangers, told apart by the best error, compared with the second best and the mean of all.
    `tar_at_far_01`: the share of owners' images that is named right where 1 % of the strangers'
    are named, null if these are too few to tell. What takes training steps is trained side by side,
    and --resume goes on with the owners that are missing.

    \b
    Examples:
      privedge evaluate identify --data letters.npz --preset subspace32-fine --out letters/
      privedge evaluate identify --data words.npz --group document --words 5 --out words/ --seed 0,1
      privedge evaluate identify --data people.npz --photos 3 --out few/ --seed 0,1,2
    """
    from privedge.ran import face
    from privedge_lab.evaluation.identify import Request

    request = Request(
        data=data,
        choice=choice_of(owners, part, group, test_where, photos, words=words),
        preset=preset,
        components=components,
        unit_length=unit_length,
        steps=steps,
        adversarial_weight=adversarial_weight,
        adversarial_loss=adversarial_loss,
        **network(preset, encoder, spec_file, detector),
        engine=engine,
        baselines=names(baselines or "none"),
        queries=queries,
        words=words,
        margin=face.MARGIN if margin is None and preset == face.NAME else margin,
        strangers=strangers,
        rivals=rivals,
    )
    if out is None and keep_models:
        raise ConfigError("--keep-models needs a folder: give --out")
    seeds = numbers(seed, "seed")
    chosen = _Chosen(processes, keep_models, skip_bad, usual_baselines=baselines is None)
    found = _measured(request, seeds, out, resume, chosen)
    experiment.show_summary(found, as_json, _print)


class _Chosen(NamedTuple):
    processes: int | None
    keep: bool
    skip_bad: bool
    usual_baselines: bool


def _measured(
    request: "Request", seeds: Sequence[int], out: Path | None, resume: bool, chosen: _Chosen
) -> dict[str, Any]:
    from privedge.user.many import cores
    from privedge_lab.evaluation import cohort, identify, identify_baselines
    from privedge_lab.evaluation.cohort import Training
    from privedge_lab.results.store import Results, summary

    others = None
    with progress_bar() as progress:
        reader = partial(cohort.read, request, progress, or_vectors=True, skip_bad=chosen.skip_bad)
        read = reader()
        if chosen.usual_baselines:
            usual = identify_baselines.usual(read.data, request.files)
            request = replace(request, baselines=usual)
        if request.strangers is not None:
            others = reader(request.strangers).data

    def measure(results: Results, bars: Bars) -> "Iterator[IdentifyRow]":
        training = Training(
            folder=(out or unkept) / "models",
            processes=chosen.processes or cores(),
            keep=chosen.keep,
            resume=resume,
            watch=bars.owner,
        )
        return identify.measure(request, read.data, seeds, results, bars, training, others)

    with tempfile.TemporaryDirectory(prefix="privedge-evaluate-") as name:
        unkept = Path(name)
        measured = experiment.run(
            identify.EXPERIMENT,
            request.settings(),
            measure,
            out=None if out is None else experiment.file_in(out, _FILE),
            resume=resume,
        )
    rows = measured.found
    named: dict[str, Any] = {"preset": rows[0].preset, "seeds": list(seeds)}
    if request.files.detector is not None:
        named |= {"left_out": len(read.left_out)}
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
    lines += _told_apart(mean)
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
    where = "no file is kept" if found["file"] is None else f"rows in {found['file']}"
    print("\n".join([*lines, f"{seconds} s a seed; {where}"]))


def _told_apart(mean: "IdentifyRow") -> list[str]:
    """Lines about strangers; intervals are means over the seeds, as the shares are."""
    found = mean.strangers
    if found is None:
        return []
    named = {
        "TAR at FAR 1 %": found.tar_at_far_01,
        "TAR at FAR 0.1 %": found.tar_at_far_001,
        "TAR at the margin": found.tar_at_margin,
        "FAR at the margin": found.far_at_margin,
    }
    lines = []
    for name, rate in named.items():
        if rate is not None:
            between = f"95 %: {shown(rate.low, '.4f')} to {shown(rate.high, '.4f')}"
            at = f"margin {shown(rate.margin, '.3f')}"
            lines.append(f"{name}: {shown(rate.share, '.4f')} ({between}; {at})")
        elif "margin" not in name:
            least = "1,000" if "0.1" in name else "100"
            lines.append(
                f"{name}: not resolvable with {shown(found.strangers, '.0f')} strangers; give "
                f"{least} or more, with --strangers"
            )
    return lines
