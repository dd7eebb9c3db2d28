"""Contact sheets and the three figures of `privedge attack table`, in one folder.

DIR/shown/CUT-DEFENCE-STRENGTH-ATTACK.png   the first reconstructions of one row of the table
DIR/sheet-CUT.png                           originals and all rows of one cut below each other
DIR/depth.png, dense-layer.png, defences.png
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from privedge.errors import ConfigError
from privedge_lab import outputs
from privedge_lab.evaluation import attack_plan as plan
from privedge_lab.evaluation.attack_table import Found
from privedge_lab.evaluation.figures import ranged
from privedge_lab.evaluation.sheets import Pixmap, Row, load, save, sheet
from privedge_lab.pages.charts import Chart, Series, series
from privedge_lab.pages.png import Panel, write
from privedge_lab.results.rows.inversion import InversionRow
from privedge_lab.results.rows.values import shown


class Pictures:
    """What is drawn for one table."""

    def __init__(self, folder: Path) -> None:
        """Makes `folder`.

        Raises ConfigError if that cannot be done, and for a file of the user's in its pictures'
        place.
        """
        self._folder, self._shown = folder, folder / "shown"
        try:
            self._shown.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be made a folder ({error.strerror})") from None
        for name in (*_PANELS, *(f"sheet-{cut}" for cut in plan.CUTS)):
            outputs.require_replaceable(folder / f"{name}.png", outputs.PICTURE)

    def keep(self, found: Found) -> None:
        """Store the reconstructions of one row, so that a resumed run has them."""
        save(found.shown, self._strip_of(found.row))

    def draw(self, originals: Pixmap, rows: Sequence[InversionRow]) -> None:
        """All sheets and figures for the finished table `rows`."""
        for cut in dict.fromkeys(row.cut for row in rows):
            mine = sorted((row for row in rows if row.cut == cut), key=_by_defence)
            strips = [
                Row(_caption(row), load(path))
                for row in mine
                if (path := self._strip_of(row)).exists()
            ]
            save(sheet([Row("original", originals), *strips]), self._folder / f"sheet-{cut}.png")
        for name, panel in _PANELS.items():
            write([panel(rows)], self._folder / f"{name}.png")

    def _strip_of(self, row: InversionRow) -> Path:
        name = f"{row.cut}-{row.defence}-{shown(row.strength, 'g')}-{row.attack}.png"
        return self._shown / name


def _by_defence(row: InversionRow) -> tuple[bool, str, float, str]:
    return not _is_plain(row), row.defence or "", row.strength or 0.0, row.attack or ""


def _is_plain(row: InversionRow) -> bool:
    return row.defence == "none"


def _caption(row: InversionRow) -> str:
    defence = "" if _is_plain(row) else f" | {row.defence} {shown(row.strength, 'g')}"
    scores = f"{shown(row.psnr_db, '.1f')} dB, SSIM {shown(row.ssim, '.2f')}"
    return f"{row.attack}{defence}\n{scores}"


def _depth(rows: Sequence[InversionRow]) -> Panel:
    """Deeper cuts leak less: PSNR by cut."""
    lines = [
        series(
            attack,
            [
                ranged(plan.CUTS.index(row.cut), row.psnr_db, row.psnr_db_plus_minus)
                for row in rows
                if row.attack == attack and _is_plain(row) and row.cut in plan.CUTS
            ],
            faint=attack == plan.MEAN_IMAGE,
        )
        for attack in (plan.MEAN_IMAGE, plan.WHITE, plan.BLACK, plan.RESIDUAL, plan.QUERY_FREE)
    ]
    chart = Chart("last layer on the device", "PSNR, dB", tuple(lines), "dB", plan.CUTS)
    return Panel("Depth of the cut", chart)


def _dense_layer(rows: Sequence[InversionRow]) -> Panel:
    """What a dense layer on the device leaves to each attack: SSIM before and after it."""
    attacks = (plan.MEAN_IMAGE, plan.WHITE, plan.TUNED, plan.BLACK, plan.RESIDUAL, plan.QUERY_FREE)
    groups = [
        series(
            cut,
            [
                ranged(attacks.index(row.attack), row.ssim, row.ssim_plus_minus)
                for row in rows
                if row.cut == cut and _is_plain(row) and row.attack in attacks
            ],
        )
        for cut in ("relu2", "fc1")
    ]
    chart = Chart("attack", "SSIM", tuple(groups), names=attacks, lines=False)
    return Panel("Before and after the first dense layer", chart)


def _defences(rows: Sequence[InversionRow]) -> Panel:
    """Privacy against usefulness: SSIM by task accuracy, one line a defence and attack."""
    defended = [row for row in rows if not _is_plain(row)]
    attacks = sorted({row.attack or "" for row in defended})
    kinds = sorted({(row.attack or "", row.defence or "") for row in defended})
    lines = [_line(defended, attack, defence, attacks.index(attack)) for attack, defence in kinds]
    return Panel("Defences at relu2", Chart("task accuracy", "SSIM", tuple(lines)))


def _line(rows: Sequence[InversionRow], attack: str, defence: str, marker: int) -> Series:
    points = [
        ranged(row.task_accuracy, row.ssim, row.ssim_plus_minus)
        for row in rows
        if (row.attack, row.defence) == (attack, defence)
    ]
    return series(f"{defence}, {attack}", points, kind=marker)


_PANELS: dict[str, Callable[[Sequence[InversionRow]], Panel]] = {
    "depth": _depth,
    "dense-layer": _dense_layer,
    "defences": _defences,
}
