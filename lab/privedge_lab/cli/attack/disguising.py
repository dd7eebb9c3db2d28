"""`privedge attack disguising`: what disguised images give away, and what disguising costs."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge_lab.cli import experiment
from privedge_lab.cli.attack.options import numbers

if TYPE_CHECKING:
    from privedge_lab.evaluation.disguising_bench import Plan
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
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", metavar="N,M", help="Train on so many images only, too: a curve."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Keys, parts, weights.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the rows that DIR has.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Attack images disguised by RMT, permutation and AES, with and without known pairs.

    visual: a classifier of plain images looks at disguised ones. adaptive, adaptive-network: trees
    and a network that know what the disguise cannot hide. membership: what the trained network
    tells. regression, codebook: with known pairs; restored: the same, and then a network that
    learnt what such images look like. full-rank: with the fewest pairs that have full rank. size:
    accuracy of networks that learnt from fewer images, in as many steps. A disguise is of pixels,
    so there is no --encoder.

    \b
    Example:
      privedge attack disguising --data mnist_28.npz --sizes 500,2000,10000 --out disguising/
    """
    from privedge_lab import datasets
    from privedge_lab.evaluation import disguising
    from privedge_lab.results.rows.disguising import DisguisingRow

    plan = _plan(disguises, images, epochs, sizes, seed)
    found = datasets.read(data)
    measured = experiment.run(
        disguising.EXPERIMENT,
        # Sizes may be added to what is there.
        {name: value for name, value in asdict(plan).items() if name != "sizes"}
        | {"data": data.name},
        lambda results, bars: disguising.measure(plan, found, results, out, bars),
        out=experiment.file_in(out, _FILE),
        resume=resume,
    )
    experiment.show_lines(measured.results, DisguisingRow, as_json, _line)
    if not as_json:
        print(f"{out}: {_FILE} and contact sheets")


def _plan(disguises: str | None, images: int, epochs: int, sizes: str | None, seed: int) -> "Plan":
    from privedge.errors import ConfigError
    from privedge_lab.evaluation.disguising_bench import DISGUISES, Plan

    names = tuple(disguises.split(",")) if disguises else tuple(DISGUISES)
    for name in names:
        if name not in DISGUISES:
            raise ConfigError(f"{name}: no such disguise; there are {', '.join(DISGUISES)}")
    counts = tuple(map(int, numbers(sizes, "--sizes"))) if sizes else ()
    return Plan(seed=seed, epochs=epochs, images=images, disguises=names, sizes=counts)


def _line(row: "DisguisingRow") -> str:
    figures = " ".join(
        f"{name} {value:.4g}"
        for name, value in row.to_json().items()
        if isinstance(value, float) and not name.endswith("_95")
    )
    pairs = "" if row.pairs is None else f", {row.pairs} pairs"
    size = "" if row.training_images is None else f", {row.training_images} images"
    precision = "" if row.precision is None else f", {row.precision}"
    return f"{row.disguise or '-':15} {row.attack}{size}{pairs}{precision}: {figures}"
