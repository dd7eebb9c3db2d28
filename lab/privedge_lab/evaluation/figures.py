"""Figures of a sweep's rows, as PNG: leakage by depth, and leakage against accuracy."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from privedge.errors import ConfigError
from privedge_lab.evaluation.sweep_plan import NONE
from privedge_lab.pages.charts import Chart, Point, series
from privedge_lab.pages.png import Panel
from privedge_lab.pages.png import write as draw
from privedge_lab.results.rows.sweep import SweepRow
from privedge_lab.results.rows.values import Figure, Text, shown


def write(rows: Sequence[SweepRow], path: Path) -> None:
    """Draw the inversion rows of a sweep (evaluation.sweep) to `path`.

    One panel with the PSNR of each attack by cut, without defence, if there are at least two cuts;
    and one for each cut with defences: the best attack's SSIM against the task's accuracy. Raises
    ConfigError if there is nothing to draw.
    """
    inverted = [row for row in rows if row.psnr_db is not None]
    plain = [row for row in inverted if row.defence == NONE]
    panels = [_depth(plain)] if len(_in_order(row.cut for row in plain)) > 1 else []
    for cut in _in_order(row.cut for row in inverted if row.defence != NONE):
        panels.append(_cost([row for row in inverted if row.cut == cut], cut))
    if not panels:
        raise ConfigError(f"{path}: nothing to draw; measure two cuts, or a defence")
    draw(panels, path)


def _depth(rows: Sequence[SweepRow]) -> Panel:
    cuts = _in_order(row.cut for row in rows)
    lines = [
        series(
            attack,
            [
                ranged(cuts.index(row.cut), row.psnr_db, row.psnr_db_plus_minus)
                for row in rows
                if row.attack == attack and row.cut is not None
            ],
        )
        for attack in _in_order(row.attack for row in rows)
    ]
    guess = rows[0].mean_image_psnr_db
    chart = Chart(
        "cut: last layer on the device",
        "PSNR of reconstructions, dB",
        tuple(lines),
        "dB",
        tuple(cuts),
        {} if guess is None else {"mean image": guess},
    )
    return Panel("Leakage by depth, no defence", chart)


def _cost(rows: Sequence[SweepRow], cut: str) -> Panel:
    best = strongest(rows)
    lines = [
        series(defence, [_traded(row) for row in best if row.defence == defence])
        for defence in _in_order(row.defence for row in best)
    ]
    chart = Chart("task accuracy", "SSIM of the best attack's reconstructions", tuple(lines))
    return Panel(f"Leakage against accuracy, cut {cut}", chart)


def _traded(row: SweepRow) -> Point | None:
    if row.task_accuracy is None or row.ssim is None:
        return None
    return Point(row.task_accuracy, row.ssim, row.ssim, row.ssim, shown(row.strength, "g"))


def ranged(x: Figure, y: Figure, around: Figure) -> Point | None:
    """A point with its interval; None unless both of its figures are known."""
    if x is None or y is None:
        return None
    return Point(x, y, y - (around or 0.0), y + (around or 0.0))


def strongest(rows: Iterable[SweepRow]) -> list[SweepRow]:
    """Of the attacks on each cut, defence and strength, the row with the highest SSIM."""
    best: dict[tuple[Text, Text, Figure], SweepRow] = {}
    for row in rows:
        key = (row.cut, row.defence, row.strength)
        if key not in best or (row.ssim or 0.0) > (best[key].ssim or 0.0):
            best[key] = row
    return list(best.values())


def _in_order(names: Iterable[Text]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name is not None))
