"""`privedge attack disguising`: what disguised images give away, and what disguising costs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, command_line
from privedge.cli.progress import progress_bar

if TYPE_CHECKING:
    from privedge_lab.evaluation.disguising import Plan
    from privedge_lab.results.rows.disguising import DisguisingRow


def register(group: typer.Typer) -> None:
    """Add `attack disguising`."""
    group.command("disguising")(_disguising)


def _disguising(
    data: Annotated[
        Path, typer.Option("--data", metavar="DATA.npz", help="images (uint8) and labels.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="For disguising.json and contact sheets.")
    ],
    disguises: Annotated[
        str | None, typer.Option("--disguises", metavar="NAMES", help="Some only; a comma list.")
    ] = None,
    images: Annotated[int, typer.Option("--images", min=2, help="Images to recover.")] = 300,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Of each training.")] = 3,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Keys, parts, weights.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the rows that DIR has.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Attack images disguised by RMT, permutation and AES, with and without known pairs.

    visual: a classifier of plain images looks at disguised ones. adaptive: one that knows what the
    disguise cannot hide. membership: what the trained network tells. regression, codebook: with
    known pairs. full-rank: with the fewest pairs that have full rank.

    \b
    Example:
      privedge attack disguising --data mnist_28.npz --out disguising/
    """
    from privedge_lab import datasets
    from privedge_lab.evaluation import disguising
    from privedge_lab.results.rows.disguising import DisguisingRow
    from privedge_lab.results.store import Results

    plan = _plan(disguises, images, epochs, seed)
    found = datasets.read(data)
    _folder(out)
    settings = asdict(plan) | {"data": data.name}
    results = Results(
        disguising.EXPERIMENT,
        settings,
        out / "disguising.json",
        resume=resume,
        command=command_line(),
    )
    with progress_bar() as progress:
        list(disguising.measure(plan, found, results, out, progress))
    if as_json:
        print(json.dumps(results.document()))
        return
    for row in results.read(DisguisingRow):
        print(_line(row))
    print(f"{out}: disguising.json and contact sheets")


def _plan(disguises: str | None, images: int, epochs: int, seed: int) -> "Plan":
    from privedge.errors import ConfigError
    from privedge_lab.evaluation.disguising import DISGUISES, Plan

    names = tuple(disguises.split(",")) if disguises else tuple(DISGUISES)
    for name in names:
        if name not in DISGUISES:
            raise ConfigError(f"{name}: no such disguise; there are {', '.join(DISGUISES)}")
    return Plan(seed=seed, epochs=epochs, images=images, disguises=names)


def _folder(out: Path) -> None:
    from privedge.errors import ConfigError

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be created ({error.strerror})") from None


def _line(row: "DisguisingRow") -> str:
    figures = " ".join(
        f"{name} {value:.4g}"
        for name, value in row.to_json().items()
        if isinstance(value, float) and not name.endswith("_95")
    )
    pairs = "" if row.pairs is None else f", {row.pairs} pairs"
    precision = "" if row.precision is None else f", {row.precision}"
    return f"{row.disguise or '-':15} {row.attack}{pairs}{precision}: {figures}"
