"""`privedge attack table`: inversion attacks on LeNet, as one table.

See docs/results/attacks.md.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import JsonOption
from privedge.cli.progress import Bars
from privedge_lab.cli import experiment
from privedge_lab.results.rows.values import shown

if TYPE_CHECKING:
    from privedge_lab.results.rows.inversion import InversionRow

_RESULTS = "table.json"
_WIDTH = 110


def register(group: typer.Typer) -> None:
    """Add `attack table`."""
    group.command("table")(_table)


def _table(
    data: Annotated[
        Path,
        typer.Option("--data", metavar="FILE.npz", help="images (uint8, n x 28 x 28) and labels."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write table.json, contact sheets and figures."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the table.json that is in --out.")
    ] = False,
    images: Annotated[int, typer.Option("--images", min=1, help="Test images to attack.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of weights, order and draws.")] = 0,
    processes: Annotated[
        int, typer.Option("--processes", min=1, max=64, help="Processes of one thread each.")
    ] = 2,
    effort: Annotated[float, typer.Option("--effort", min=0.001, max=10, hidden=True)] = 1.0,
    as_json: JsonOption = False,
) -> None:
    """What model inversion gets out of LeNet's activations: cuts, attacks and defences.

    About 1,100 CPU seconds, both processes together. PSNR and SSIM are means over the images with
    their 95% interval.

    \b
    Example:
      privedge attack table --data mnist_28.npz --out attacks/
    """
    from dataclasses import asdict

    from privedge_lab.evaluation import attack_pictures, attack_table
    from privedge_lab.evaluation.attack_plan import TableSettings
    from privedge_lab.results.rows.inversion import InversionRow
    from privedge_lab.results.store import Results

    settings = TableSettings(images=images, seed=seed, effort=effort)
    pictures = attack_pictures.Pictures(out) if out is not None else None
    path = out / _RESULTS if out is not None else None

    def measure(results: Results, bars: Bars) -> Iterator[None]:
        measuring = attack_table.measure(
            settings, data, results, processes=processes, progress=bars
        )
        for found in measuring:
            if pictures is not None:
                pictures.keep(found)
            # What was reconstructed is in the way once it is drawn.
            yield

    results = experiment.run(
        attack_table.EXPERIMENT,
        {"data": data.name} | asdict(settings),
        measure,
        out=path,
        resume=resume,
    ).results
    if pictures is not None:
        pictures.draw(attack_table.originals(data, settings), results.read(InversionRow))
    experiment.show_rows(results, InversionRow, as_json, _print)


def _order(row: "InversionRow") -> tuple[Any, ...]:
    return (row.defence != "none", row.cut, row.defence, row.strength, row.attack)


def _print(rows: "list[InversionRow]") -> None:
    titles = ("cut", "defence", "strength", "attack", "PSNR dB", "SSIM", "accuracy")
    lines = [
        (
            *(row.cut, row.defence, shown(row.strength, "g"), row.attack),
            f"{shown(row.psnr_db, '.2f')} ± {shown(row.psnr_db_plus_minus, '.2f')}",
            f"{shown(row.ssim, '.3f')} ± {shown(row.ssim_plus_minus, '.3f')}",
            shown(row.task_accuracy, ".2%"),
        )
        for row in sorted(rows, key=_order)
    ]
    experiment.table(titles, lines, least_width=_WIDTH)
