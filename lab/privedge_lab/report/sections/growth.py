"""More owners: results of `evaluate scale`, accuracy and what a private question costs."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
from privedge_lab.report.charts import Chart, Series, point, series
from privedge_lab.report.cohorts import label
from privedge_lab.report.reader import Found, Source
from privedge_lab.report.values import Row, Spread, number, percents, seconds, size, spread

MEASURE = "privedge evaluate scale --data FILE.npz --seed 0,1,2 --out DIR"
_FIELDS = ("seed", "owners", "macro_recall", "accuracy", "auroc_known", "chance", "private")


@dataclass(frozen=True)
class _Cost:
    """A cost in `private` of a row, and how it is written."""

    name: str
    title: str
    unit: str
    shown: Callable[[float | None], str]


_COSTS = (
    _Cost("online_s", "Seconds of a private question", "s", seconds),
    _Cost("bytes_per_query", "Bytes of a private question", "bytes", size),
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
    sources = found.of("scale")
    blocks: list[Block] = []
    if not sources:
        blocks.append(Missing("Accuracy and private cost against the number of owners", MEASURE))
    else:
        blocks.append(
            Paragraph(
                "The same set with few and with many of its owners: telling more apart is harder, "
                "and every model is asked in every question."
            )
        )
    for source in sources:
        blocks += [Heading(label(source.settings)), _accuracy(source), *_costs(source)]
        blocks.append(_table(source))
    return Section("scale", "More owners", "Scale", tuple(blocks))


def owners_of(rows: Sequence[Row]) -> list[float]:
    """Each number of owners, ascending."""
    return sorted({count for row in rows if (count := number(row, "owners") or 0) >= 1})


def at(rows: Sequence[Row], owners: float, *names: str) -> Spread | None:
    """A figure at this number of owners, over seeds."""
    return spread(number(row, *names) for row in rows if number(row, "owners") == owners)


def fit(rows: Sequence[Row], *names: str) -> Line | None:
    """How a cost grows with the number of owners; None with fewer than three numbers of them."""
    pairs = [
        (owners, cost)
        for row in rows
        if (cost := number(row, *names)) is not None and (owners := number(row, "owners") or 0) >= 1
    ]
    xs, ys = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if len(set(xs)) < 3:
        return None
    slope, intercept = statistics.linear_regression(xs, ys)
    left = math.fsum((y - intercept - slope * x) ** 2 for x, y in pairs)
    mean = statistics.fmean(ys)
    around = math.fsum((y - mean) ** 2 for y in ys)
    return Line(intercept, slope, 1 - left / around if around > 0 else None)


def _accuracy(source: Source) -> Block:
    rows = source.rows
    counts = owners_of(rows)
    lines = (
        series("macro recall", [point(n, at(rows, n, "macro_recall")) for n in counts]),
        series("known or not, AUROC", [point(n, at(rows, n, "auroc_known")) for n in counts]),
        series("guessing", [point(n, at(rows, n, "chance")) for n in counts]),
    )
    drawn = tuple(line for line in lines if line.points)
    return curve(
        f"How well owners are told apart: {label(source.settings)}",
        "Means over seeds, which also draw the owners; bars from the least to the greatest.",
        Chart("owners", "share", drawn, "share", log_x=_wide(counts)),
        evidence([(source, rows)], _FIELDS),
    )


def _costs(source: Source) -> list[Block]:
    lines = [(cost, _cost_line(source.rows, cost.name)) for cost in _COSTS]
    return [_cost(source, cost, line) for cost, line in lines if line.points]


def _cost(source: Source, cost: _Cost, line: Series) -> Block:
    law = fit(source.rows, "private", cost.name)
    counts = [each.x for each in line.points]
    drawn, told = [line], "Too few numbers of owners for a fit."
    if law is not None:
        guide = [point(n, Spread(law(n), law(n), law(n), 1)) for n in (counts[0], counts[-1])]
        drawn.append(series("fit", guide, faint=True))
        told = f"Fitted growth: {law.says(cost.shown)}."
    chart = Chart("owners", cost.title, tuple(drawn), cost.unit)
    rows = [row for row in source.rows if number(row, "private", cost.name) is not None]
    title = f"{cost.title}: {label(source.settings)}"
    return curve(title, told, chart, evidence([(source, rows)], _FIELDS))


def _cost_line(rows: Sequence[Row], name: str) -> Series:
    return series("measured", [point(n, at(rows, n, "private", name)) for n in owners_of(rows)])


def _wide(counts: Sequence[float]) -> bool:
    """Do they go over more than a factor of eight, so that a scale of factors shows more?"""
    return bool(counts) and min(counts) > 0 and max(counts) / min(counts) > 8


def _table(source: Source) -> Table:
    rows = source.rows
    lines = []
    for count in owners_of(rows):
        online, moved = (
            at(rows, count, "private", "online_s"),
            at(rows, count, "private", "bytes_per_query"),
        )
        rounds = at(rows, count, "private", "rounds")
        lines.append(
            (
                f"{count:.0f}",
                percents(at(rows, count, "macro_recall")),
                percents(at(rows, count, "accuracy")),
                percents(at(rows, count, "chance")),
                seconds(online.mean if online else None),
                size(moved.mean if moved else None),
                f"{rounds.mean:.0f}" if rounds else "not measured",
            )
        )
    return Table(
        f"By number of owners, {label(source.settings)}. Means over seeds; the cost is that of one "
        "private question.",
        ("owners", "macro recall", "accuracy", "guessing", "online", "bytes", "rounds"),
        tuple(lines),
        evidence([(source, rows)], _FIELDS),
    )
