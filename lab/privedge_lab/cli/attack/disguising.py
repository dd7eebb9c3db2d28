"""`privedge attack disguising`: what disguised images give away, and what disguising costs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge_lab.cli import experiment

if TYPE_CHECKING:
    from privedge_lab.evaluation.disguising import Plan
    from privedge_lab.results.rows.disguising import DisguisingRow

_FILE = "disguising.json"


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
    known pairs. full-rank: with the fewest pairs that have full rank. A disguise is of pixels, so
    there is no --encoder.

    \b
    Example:
      privedge attack disguising --data mnist_28.npz --out disguising/
    """
    from privedge_lab import datasets
    from privedge_lab.evaluation import disguising
    from privedge_lab.results.rows.disguising import DisguisingRow

    plan = _plan(disguises, images, epochs, seed)
    found = datasets.read(data)
    measured = experiment.run(
        disguising.EXPERIMENT,
        asdict(plan) | {"data": data.name},
        lambda results, bars: disguising.measure(plan, found, results, out, bars),
        out=experiment.file_in(out, _FILE),
        resume=resume,
    )
    experiment.show_lines(measured.results, DisguisingRow, as_json, _line)
    if not as_json:
        print(f"{out}: {_FILE} and contact sheets")


def _plan(disguises: str | None, images: int, epochs: int, seed: int) -> "Plan":
    from privedge.errors import ConfigError
    from privedge_lab.evaluation.disguising import DISGUISES, Plan

    names = tuple(disguises.split(",")) if disguises else tuple(DISGUISES)
    for name in names:
        if name not in DISGUISES:
            raise ConfigError(f"{name}: no such disguise; there are {', '.join(DISGUISES)}")
    return Plan(seed=seed, epochs=epochs, images=images, disguises=names)


def _line(row: "DisguisingRow") -> str:
    figures = " ".join(
        f"{name} {value:.4g}"
        for name, value in row.to_json().items()
        if isinstance(value, float) and not name.endswith("_95")
    )
    pairs = "" if row.pairs is None else f", {row.pairs} pairs"
    precision = "" if row.precision is None else f", {row.precision}"
    return f"{row.disguise or '-':15} {row.attack}{pairs}{precision}: {figures}"
