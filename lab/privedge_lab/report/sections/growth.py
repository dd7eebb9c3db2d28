"""More owners: results of `evaluate scale`, accuracy and what a private question costs."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from privedge_lab.pages.charts import Chart, Series, point, series
from privedge_lab.pages.wording import Spread, percents, seconds, size, spread
from privedge_lab.report.blocks import (
    Block,
    Heading,
    Missing,
    Paragraph,
    Section,
    Table,
    curve,
    evidence,
)
from privedge_lab.report.cohorts import label
from privedge_lab.report.reader import File, Found
from privedge_lab.results.rows.scale import PrivateCost, ScaleRow
from privedge_lab.results.rows.values import Figure

MEASURE = "privedge evaluate scale --data FILE.npz --seed 0,1,2 --out DIR"
_FIELDS = ("seed", "owners", "macro_recall", "accuracy", "auroc_known", "chance", "private")


# Which figure of a row.
Which = Callable[[ScaleRow], Figure]


def macro_recall(row: ScaleRow) -> Figure:
    """Share found, as a mean over owners."""
    return row.macro_recall


def _private(figure: Callable[[PrivateCost], Figure]) -> Which:
    return lambda row: None if row.private is None else figure(row.private)


online_s = _private(lambda cost: cost.online_s)
bytes_per_query = _private(lambda cost: cost.bytes_per_query)
seconds_per_query = _private(lambda cost: cost.seconds_per_query)
_rounds = _private(lambda cost: cost.rounds)


@dataclass(frozen=True)
class _Cost:
    """A cost of a private question, and how it is written."""

    which: Which
    title: str
    unit: str
    shown: Callable[[float | None], str]


_COSTS = (
    _Cost(online_s, "Seconds of a private question", "s", seconds),
    _Cost(bytes_per_query, "Bytes of a private question", "bytes", size),
)


@dataclass(frozen=True)
class Line:
    """cost = intercept + slope * owners, by least squares; r_squared is None if all are alike."""

    intercept: float
    slope: float
    r_squared: float | None

    def __call__(self, owners: float) -> float:
        return self.intercept + self.slope * owners

    def says(self, shown: Callable[[float], str]) -> str:
        """The fit in words."""
        sign = "+" if self.slope >= 0 else "-"
        told = f"{shown(self.intercept)} {sign} {shown(abs(10 * self.slope))} for every 10 owners"
        return told if self.r_squared is None else f"{told} (R² {self.r_squared:.3f})"


def section(found: Found) -> Section:
    """Curves against the number of owners."""
    files = found.of(ScaleRow)
    blocks: list[Block] = []
    if not files:
        blocks.append(Missing("Accuracy and private cost against the number of owners", MEASURE))
    else:
        blocks.append(
            Paragraph(
                "The same set with few and with many of its owners: telling more apart is harder, "
                "and every model is asked in every question."
            )
        )
    for file in files:
        blocks += [Heading(label(file.about)), _accuracy(file), *_costs(file), _table(file)]
    return Section("scale", "More owners", "Scale", tuple(blocks))


def owners_of(rows: Sequence[ScaleRow]) -> list[float]:
    """Each number of owners, ascending."""
    return sorted({count for row in rows if (count := row.owners or 0) >= 1})


def at(rows: Sequence[ScaleRow], owners: float, which: Which) -> Spread | None:
    """A figure at this number of owners, over seeds."""
    return spread(which(row) for row in rows if row.owners == owners)


def fit(rows: Sequence[ScaleRow], which: Which) -> Line | None:
    """How a cost grows with the number of owners; None with fewer than three numbers of them."""
    pairs = [
        (owners, cost)
        for row in rows
        if (cost := which(row)) is not None and (owners := row.owners or 0) >= 1
    ]
    xs, ys = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if len(set(xs)) < 3:
        return None
    slope, intercept = statistics.linear_regression(xs, ys)
    left = math.fsum((y - intercept - slope * x) ** 2 for x, y in pairs)
    mean = statistics.fmean(ys)
    around = math.fsum((y - mean) ** 2 for y in ys)
    return Line(intercept, slope, 1 - left / around if around > 0 else None)


def _accuracy(file: File[ScaleRow]) -> Block:
    rows = file.rows
    counts = owners_of(rows)
    figures: tuple[tuple[str, Which], ...] = (
        ("macro recall", macro_recall),
        ("known or not, AUROC", lambda row: row.auroc_known),
        ("guessing", lambda row: row.chance),
    )
    lines = [
        series(name, [point(n, at(rows, n, which)) for n in counts]) for name, which in figures
    ]
    drawn = tuple(line for line in lines if line.points)
    return curve(
        f"How well owners are told apart: {label(file.about)}",
        "Means over seeds, which also draw the owners; bars from the least to the greatest.",
        Chart("owners", "share", drawn, "share", log_x=_wide(counts)),
        evidence([(file.source, rows)], _FIELDS),
    )


def _costs(file: File[ScaleRow]) -> list[Block]:
    lines = [(cost, _cost_line(file.rows, cost.which)) for cost in _COSTS]
    return [_cost(file, cost, line) for cost, line in lines if line.points]


def _cost(file: File[ScaleRow], cost: _Cost, line: Series) -> Block:
    law = fit(file.rows, cost.which)
    counts = [each.x for each in line.points]
    drawn, told = [line], "Too few numbers of owners for a fit."
    if law is not None:
        guide = [point(n, Spread(law(n), law(n), law(n), 1)) for n in (counts[0], counts[-1])]
        drawn.append(series("fit", guide, faint=True))
        told = f"Fitted growth: {law.says(cost.shown)}."
    chart = Chart("owners", cost.title, tuple(drawn), cost.unit)
    rows = [row for row in file.rows if cost.which(row) is not None]
    title = f"{cost.title}: {label(file.about)}"
    return curve(title, told, chart, evidence([(file.source, rows)], _FIELDS))


def _cost_line(rows: Sequence[ScaleRow], which: Which) -> Series:
    return series("measured", [point(n, at(rows, n, which)) for n in owners_of(rows)])


def _wide(counts: Sequence[float]) -> bool:
    """Do they go over more than a factor of eight, so that a scale of factors shows more?"""
    return bool(counts) and min(counts) > 0 and max(counts) / min(counts) > 8


def _table(file: File[ScaleRow]) -> Table:
    rows = file.rows
    lines = []
    for count in owners_of(rows):
        online, moved = at(rows, count, online_s), at(rows, count, bytes_per_query)
        rounds = at(rows, count, _rounds)
        lines.append(
            (
                f"{count:.0f}",
                percents(at(rows, count, macro_recall)),
                percents(at(rows, count, lambda row: row.accuracy)),
                percents(at(rows, count, lambda row: row.chance)),
                seconds(online.mean if online else None),
                size(moved.mean if moved else None),
                f"{rounds.mean:.0f}" if rounds else "not measured",
            )
        )
    return Table(
        f"By number of owners, {label(file.about)}. Means over seeds; the cost is that of one "
        "private question.",
        ("owners", "macro recall", "accuracy", "guessing", "online", "bytes", "rounds"),
        tuple(lines),
        evidence([(file.source, rows)], _FIELDS),
    )
