"""Contact sheets and the three figures of `privedge attack table`, in one folder.

DIR/shown/CUT-DEFENCE-STRENGTH-ATTACK.png   the first reconstructions of one row of the table
DIR/sheet-CUT.png                           originals and all rows of one cut below each other
DIR/depth.png, dense-layer.png, defences.png
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from privedge.errors import ConfigError
from privedge_lab.evaluation import attack_plan as plan
from privedge_lab.evaluation.attack_table import Found
from privedge_lab.evaluation.sheets import Pixmap, load, save, sheet
from privedge_lab.evaluation.sheets import Row as SheetRow
from privedge_lab.results.store import Row


class Pictures:
    """What is drawn for one table."""

    def __init__(self, folder: Path) -> None:
        """Makes `folder`. Raises ConfigError if that cannot be done."""
        self._folder, self._shown = folder, folder / "shown"
        try:
            self._shown.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be made a folder ({error.strerror})") from None

    def keep(self, found: Found) -> None:
        """Store the reconstructions of one row, so that a resumed run has them."""
        save(found.shown, self._strip_of(found.row))

    def draw(self, originals: Pixmap, rows: Sequence[Row]) -> None:
        """All sheets and figures for the finished table `rows`."""
        for cut in dict.fromkeys(row["cut"] for row in rows):
            mine = sorted((row for row in rows if row["cut"] == cut), key=_by_defence)
            shown = [
                SheetRow(_caption(row), load(path))
                for row in mine
                if (path := self._strip_of(row)).exists()
            ]
            save(
                sheet([SheetRow("original", originals), *shown]), self._folder / f"sheet-{cut}.png"
            )
        for name, draw in (
            ("depth", _depth),
            ("dense-layer", _dense_layer),
            ("defences", _defences),
        ):
            figure = Figure(figsize=(7, 4.5), layout="constrained")
            draw(figure.subplots(), rows)
            figure.savefig(self._folder / f"{name}.png", dpi=130)

    def _strip_of(self, row: Row) -> Path:
        name = f"{row['cut']}-{row['defence']}-{row['strength']:g}-{row['attack']}.png"
        return self._shown / name


def _by_defence(row: Row) -> tuple[bool, str, float, str]:
    return row["defence"] != "none", row["defence"], row["strength"], row["attack"]


def _caption(row: Row) -> str:
    defence = "" if row["defence"] == "none" else f" | {row['defence']} {row['strength']:g}"
    return f"{row['attack']}{defence}\n{row['psnr_db']:.1f} dB, SSIM {row['ssim']:.2f}"


def _plain(rows: Sequence[Row], attack: str) -> list[Row]:
    """Undefended rows of one attack, in the order of the cuts."""
    mine = [row for row in rows if row["attack"] == attack and row["defence"] == "none"]
    return sorted(mine, key=lambda row: plan.CUTS.index(row["cut"]))


def _depth(axes: Axes, rows: Sequence[Row]) -> None:
    """Deeper cuts leak less: PSNR by cut."""
    for attack in (plan.MEAN_IMAGE, plan.WHITE, plan.BLACK, plan.RESIDUAL, plan.QUERY_FREE):
        mine = _plain(rows, attack)
        axes.errorbar(
            [row["cut"] for row in mine],
            [row["psnr_db"] for row in mine],
            yerr=[row["psnr_db_plus_minus"] for row in mine],
            label=attack,
            linestyle=":" if attack == plan.MEAN_IMAGE else "-",
            marker="o",
            capsize=3,
        )
    axes.set(ylabel="PSNR, dB", xlabel="last layer on the device", title="Depth of the cut")
    axes.legend()


def _dense_layer(axes: Axes, rows: Sequence[Row]) -> None:
    """What a dense layer on the device leaves to each attack: SSIM before and after it."""
    attacks = (plan.MEAN_IMAGE, plan.WHITE, plan.TUNED, plan.BLACK, plan.RESIDUAL, plan.QUERY_FREE)
    for offset, cut in ((-0.2, "relu2"), (0.2, "fc1")):
        mine = {row["attack"]: row for row in rows if row["cut"] == cut and _is_plain(row)}
        places = [number for number, attack in enumerate(attacks) if attack in mine]
        axes.bar(
            [place + offset for place in places],
            [mine[attacks[place]]["ssim"] for place in places],
            0.4,
            yerr=[mine[attacks[place]]["ssim_plus_minus"] for place in places],
            label=cut,
        )
    axes.set_xticks(range(len(attacks)), attacks, rotation=20)
    axes.set(ylabel="SSIM", title="Before and after the first dense layer")
    axes.legend()


def _is_plain(row: Row) -> bool:
    return bool(row["defence"] == "none")


def _defences(axes: Axes, rows: Sequence[Row]) -> None:
    """Privacy against usefulness: SSIM by task accuracy, one line a defence and attack."""
    defended = [row for row in rows if not _is_plain(row)]
    kinds = sorted({(row["attack"], row["defence"]) for row in defended})
    markers = dict(zip(sorted({attack for attack, _ in kinds}), itertools.cycle("osv^x")))
    for attack, defence in kinds:
        mine = [row for row in defended if (row["attack"], row["defence"]) == (attack, defence)]
        mine.sort(key=lambda row: float(row["strength"]))
        axes.errorbar(
            [row["task_accuracy"] for row in mine],
            [row["ssim"] for row in mine],
            yerr=[row["ssim_plus_minus"] for row in mine],
            marker=markers[attack],
            label=f"{defence}, {attack}",
        )
    axes.set(xlabel="task accuracy", ylabel="SSIM", title="Defences at relu2")
    if kinds:
        axes.legend(fontsize="small")
