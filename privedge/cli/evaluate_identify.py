"""`privedge evaluate identify`: whose image is it, measured. Only an experiment sees all images."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.ending import nothing_left_running
from privedge.cli.options import DataOption, JsonOption, command_line
from privedge.cli.progress import progress_bar

if TYPE_CHECKING:
    from privedge.evaluation.identify import Request

_FILE = "identify.json"


def register(group: typer.Typer) -> None:
    """Add `evaluate identify`."""
    group.command("identify")(_identify)


def _identify(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help=f"Where {_FILE} goes.")],
    owners: Annotated[
        int | None, typer.Option("--owners", min=2, help="Classes drawn by the seed; default all.")
    ] = None,
    seed: Annotated[
        str, typer.Option("--seed", metavar="SEEDS", help="Of split and training; a comma list.")
    ] = "0",
    preset: Annotated[str, typer.Option("--preset", help="Architecture of the models.")] = "auto",
    components: Annotated[
        int | None, typer.Option("--components", min=1, help="Of a subspace preset.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps, if not the preset's.")
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            "--engine", metavar="plain|fixed|fused", help="Whose answers the figures are of."
        ),
    ] = "plain",
    queries: Annotated[
        int, typer.Option("--queries", min=1, help="Images engines are compared on, or fused asks.")
    ] = 100,
    group: Annotated[
        str | None, typer.Option("--group", metavar="FACT", help="Split by it, e.g. document.")
    ] = None,
    test_where: Annotated[
        str | None,
        typer.Option("--test-where", metavar="FACT=VALUE", help="Exactly these are the test part."),
    ] = None,
    part: Annotated[
        str,
        typer.Option("--part", metavar="test|validation", help="Choose settings on validation."),
    ] = "test",
    words: Annotated[
        int, typer.Option("--words", min=0, help="Also vote over so many images of one page.")
    ] = 0,
    baselines: Annotated[
        str, typer.Option("--baselines", metavar="NAMES|none", help="Of pca, knn, cnn.")
    ] = "pca,knn,cnn",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what DIR holds, seed by seed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train an owner's model per class, ask whose the other images are, and compare.

    Figures are means over the seeds. `auroc_known`: half of the owners registered, the others
    strangers, told apart by best / second best error.

    \b
    Examples:
      privedge evaluate identify --data letters.npz --preset subspace32-fine --out letters/
      privedge evaluate identify --data words.npz --group document --words 5 --out words/ --seed 0,1
    """
    if importlib.util.find_spec("sklearn") is None:
        from privedge.errors import MissingExtra

        raise MissingExtra("evaluation takes scikit-learn: pip install 'privedge[research]'")
    from privedge.evaluation.identify import Request
    from privedge.evaluation.identify_parts import Choice

    request = Request(
        data=data,
        choice=Choice(0, owners, _part(part), group, _where(test_where)),
        preset=preset,
        components=components,
        steps=steps,
        engine=engine,
        baselines=() if baselines == "none" else tuple(baselines.split(",")),
        queries=queries,
        words=words,
    )
    summary = _measured(request, _seeds(seed), out, resume)
    print(json.dumps(summary) if as_json else _text(summary))


def _measured(request: "Request", seeds: Sequence[int], out: Path, resume: bool) -> dict[str, Any]:
    from privedge import datasets
    from privedge.evaluation import identify
    from privedge.evaluation.results import Results

    data = datasets.read(request.data)
    settings = request.settings()
    results = Results(
        identify.EXPERIMENT, settings, _file(out), resume=resume, command=command_line()
    )
    with nothing_left_running(), progress_bar() as progress:
        rows = identify.measure(request, data, seeds, results, progress)
    named = {"file": str(out / _FILE), "command": command_line(), "settings": settings}
    return identify.summary(rows) | {"preset": rows[0]["preset"], "seeds": list(seeds)} | named


def _file(out: Path) -> Path:
    from privedge.errors import ConfigError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be created ({error.strerror})") from None
    return out / _FILE


def _part(text: str) -> Any:
    from privedge.errors import ConfigError
    from privedge.evaluation.identify_parts import Part

    try:
        return Part(text)
    except ValueError:
        raise ConfigError(f"part {text!r} is unknown; choose from test, validation") from None


def _seeds(text: str) -> list[int]:
    from privedge.errors import ConfigError

    if not all(part.isdecimal() for part in text.split(",")):
        raise ConfigError(f"seed {text!r}: give one number or several, as in 0,1,2")
    return [int(part) for part in text.split(",")]


def _where(text: str | None) -> tuple[str, int] | None:
    from privedge.errors import ConfigError

    if text is None:
        return None
    fact, _, value = text.partition("=")
    if not value.lstrip("-").isdecimal():
        raise ConfigError(f"test-where {text!r}: give a fact and a number, as in part=3")
    return fact, int(value)


def _text(found: dict[str, Any]) -> str:
    lines = [
        f"{found['owners']:.0f} owners, {found['asked']:.0f} images asked, {found['preset']}, "
        f"engine {found['settings']['engine']}, seeds {', '.join(map(str, found['seeds']))}",
        f"macro recall {found['macro_recall']:.3f}, macro precision "
        f"{found['macro_precision']:.3f}, accuracy {found['accuracy']:.3f}, top 3 "
        f"{found['top3']:.3f}",
    ]
    if "voting" in found:
        words = found["settings"]["words"]
        lines.append(f"voting over {words}: macro recall {found['voting']['macro_recall']:.3f}")
    if found["auroc_known"] is not None:
        known = found["known"]
        lines.append(
            f"known or not: AUROC {found['auroc_known']:.3f} by margin, "
            f"{known['auroc_best']:.3f} by best error; at the owners' thresholds precision "
            f"{known['precision']:.2f}, recall {known['recall']:.2f}"
        )
    lines += [
        f"baseline {name}: macro recall {row['macro_recall']:.3f}"
        for name, row in found["baselines"].items()
    ]
    same = {name: value for name, value in found["agreement"].items() if name != "queries"}
    lines += [f"agreement {name.replace('_', ' ')}: {value:.4g}" for name, value in same.items()]
    if found["bytes_per_query"] is not None:
        lines.append(
            f"a private query: {found['bytes_per_query'] / 1e3:.1f} kB, "
            f"{found['seconds_per_query']:.3f} s"
        )
    return "\n".join([*lines, f"{found['seconds']:.1f} s a seed; rows in {found['file']}"])
