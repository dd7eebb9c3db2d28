"""Models that reconstruct too much: results of `evaluate fairness`. Figures only."""

from collections.abc import Sequence

from privedge_lab.pages.strips import strips
from privedge_lab.pages.wording import (
    NOT_MEASURED,
    Spread,
    bare,
    in_order,
    percent,
    percents,
    spread,
)
from privedge_lab.report.blocks import Block, Missing, Paragraph, Rows, Section, Table, evidence
from privedge_lab.report.cohorts import label
from privedge_lab.report.reader import File, Found
from privedge_lab.results.rows.fairness import FairnessRow

MEASURE = "privedge evaluate fairness --data FILE.npz --seed 0,1,2 --out DIR"
NONE = "none"


def section(found: Found) -> Section:
    """What a thief's model wins, with and without calibration."""
    files = found.of(FairnessRow)
    blocks: list[Block] = []
    if files:
        blocks.append(
            Paragraph(
                "The smallest error wins, so an owner who uploads a model that reconstructs too "
                "much wins other owners' questions. The steal rate is the share of questions "
                "about others that such a thief wins. A calibration weighs every model's error by "
                "its error on images of its own; the audit looks at errors on public images."
            )
        )
    else:
        blocks.append(Missing("Whether a greedy model wins other owners' questions", MEASURE))
    for file in files:
        blocks += _of(file)
    return Section("fairness", "Owners who take more than theirs", "Fairness", tuple(blocks))


def stolen(rows: Sequence[FairnessRow], thief: str, calibration: str) -> Spread | None:
    """The steal rate over seeds."""
    return spread(row.steal_rate for row in _chosen(rows, thief, calibration))


def thieves(rows: Sequence[FairnessRow]) -> list[str]:
    """Those that there are, the honest cohort apart."""
    return [name for name in in_order(map(_thief, rows)) if name != NONE]


def calibrations(rows: Sequence[FairnessRow]) -> list[str]:
    """Those that there are."""
    return in_order(row.calibration or NONE for row in rows)


def _thief(row: FairnessRow) -> str:
    return row.thief or NONE


def _chosen(rows: Sequence[FairnessRow], thief: str, calibration: str) -> list[FairnessRow]:
    wanted = (thief, calibration)
    return [row for row in rows if (_thief(row), row.calibration or NONE) == wanted]


def _of(file: File[FairnessRow]) -> list[Block]:
    rows = file.rows
    ways = calibrations(rows)
    named = ["as the parties compare" if way == NONE else f"calibrated: {way}" for way in ways]
    lines = [
        (_named(rows, thief), [stolen(rows, thief, way) for way in ways]) for thief in thieves(rows)
    ]
    about = f"{label(file.about)}, {file.shown}"
    given = evidence([(file.source, rows)], _FIELDS)
    blocks: list[Block] = []
    if lines:
        caption = "Steal rate by thief: the share of questions about other owners that it wins."
        blocks.append(Rows(f"What thieves win: {about}", caption, strips(named, lines), given))
    titles = ("thief", *(f"macro recall, {name}" for name in named))
    recalls = [_line(rows, thief, ways) for thief in (NONE, *thieves(rows))]
    blocks.append(
        Table(
            f"What is left to honest owners: macro recall with each thief in one owner's place, "
            f"{about}. Refused: by how many audits of the thief and, in brackets, the share of "
            "honest models refused.",
            (*titles, "refused by the audit"),
            tuple(recalls),
            given,
        )
    )
    return blocks


_FIELDS = (
    *("seed", "thief", "calibration", "components", "admitted", "steal_rate", "macro_recall"),
    *("win_rates", "audit_ratio", "audit_refused", "audit_refused_share", "audit_refused_honest"),
)


def _named(rows: Sequence[FairnessRow], thief: str) -> str:
    mine = [row for row in rows if _thief(row) == thief]
    components = bare(mine[0].components) if mine else ""
    return f"{thief}, {components} components" if components else thief


def _line(rows: Sequence[FairnessRow], thief: str, ways: Sequence[str]) -> tuple[str, ...]:
    recalls = [
        percents(spread(row.macro_recall for row in _chosen(rows, thief, way))) for way in ways
    ]
    return ("no thief" if thief == NONE else _named(rows, thief), *recalls, _audited(rows, thief))


def _audited(rows: Sequence[FairnessRow], thief: str) -> str:
    """The audit does not depend on the calibration."""
    mine = [row for row in rows if _thief(row) == thief]
    share = spread(row.audit_refused_share for row in mine)
    flags = [row.audit_refused for row in mine if row.audit_refused is not None]
    if share is None and not flags:
        return NOT_MEASURED
    refused = share.mean if share is not None else sum(flags) / len(flags)
    honest = spread(row.audit_refused_honest for row in mine)
    return (
        percent(refused, 0) if honest is None else f"{percent(refused, 0)} ({percent(honest.mean)})"
    )
