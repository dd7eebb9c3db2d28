"""Figures of a sweep's rows, as PNG: leakage by depth, and leakage against accuracy."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from privedge.errors import ConfigError, MissingExtra
from privedge_lab.evaluation.sweep_plan import NONE
from privedge_lab.results.store import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = (6.4, 4.8)


def write(rows: Sequence[Row], path: Path) -> None:
    """Draw the inversion rows of a sweep (evaluation.sweep) to `path`.

    One panel with the PSNR of each attack by cut, without defence, if there are at least two cuts;
    and one for each cut with defences: the best attack's SSIM against the task's accuracy. Raises
    ConfigError if there is nothing to draw, MissingExtra without matplotlib.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("figures need matplotlib: pip install 'privedge[research]'") from None
    inverted = [row for row in rows if "psnr_db" in row]
    plain = [row for row in inverted if row["defence"] == NONE]
    depth = len(_in_order(plain, "cut")) > 1
    cuts = _in_order([row for row in inverted if row["defence"] != NONE], "cut")
    if not depth and not cuts:
        raise ConfigError(f"{path}: nothing to draw; measure two cuts, or a defence")
    panels = depth + len(cuts)
    figure = Figure(figsize=(_INCHES[0] * panels, _INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    if depth:
        _draw_depth(axes.pop(0), plain)
    for ax, cut in zip(axes, cuts, strict=True):
        _draw_cost(ax, [row for row in inverted if row["cut"] == cut], cut)
    figure.savefig(path, format="png", dpi=120)


def _draw_depth(ax: "Axes", rows: list[Row]) -> None:
    cuts = _in_order(rows, "cut")
    for attack in _in_order(rows, "attack"):
        mine = {row["cut"]: row for row in rows if row["attack"] == attack}
        there = [cut for cut in cuts if cut in mine]
        ax.errorbar(
            [cuts.index(cut) for cut in there],
            [mine[cut]["psnr_db"] for cut in there],
            [mine[cut]["psnr_db_plus_minus"] for cut in there],
            marker="o",
            label=attack,
        )
    ax.axhline(rows[0]["mean_image_psnr_db"], linestyle="--", color="grey", label="mean image")
    ax.set_xticks(range(len(cuts)), cuts)
    ax.set_xlabel("cut: last layer on the device")
    ax.set_ylabel("PSNR of reconstructions, dB")
    ax.set_title("Leakage by depth, no defence")
    ax.legend()


def _draw_cost(ax: "Axes", rows: list[Row], cut: str) -> None:
    best = strongest(rows)
    for defence in _in_order(best, "defence"):
        mine = sorted(
            (row for row in best if row["defence"] == defence), key=lambda row: row["strength"]
        )
        ax.plot(
            [row["task_accuracy"] for row in mine],
            [row["ssim"] for row in mine],
            marker="o",
            label=defence,
        )
        for row in mine:
            place = (row["task_accuracy"], row["ssim"])
            ax.annotate(f"{row['strength']:g}", place, fontsize="small")
    ax.set_xlabel("task accuracy")
    ax.set_ylabel("SSIM of the best attack's reconstructions")
    ax.set_title(f"Leakage against accuracy, cut {cut}")
    ax.legend()


def strongest(rows: Sequence[Row]) -> list[Row]:
    """Of the attacks on each cut, defence and strength, the row with the highest SSIM."""
    best: dict[tuple[str, str, float], Row] = {}
    for row in rows:
        key = (row["cut"], row["defence"], row["strength"])
        if key not in best or row["ssim"] > best[key]["ssim"]:
            best[key] = row
    return list(best.values())


def _in_order(rows: Sequence[Row], name: str) -> list[str]:
    return list(dict.fromkeys(str(row[name]) for row in rows))
