"""The original network: results of `evaluate original`, its convergence and what it reached."""

from privedge.report.blocks import (
    Block,
    Heading,
    Missing,
    Paragraph,
    Section,
    Table,
    curve,
    evidence,
)
from privedge.report.charts import Chart, Point, Series, point, series
from privedge.report.cohorts import label
from privedge.report.reader import Found, Source
from privedge.report.values import Row, in_order, number, percent, seconds, seed_of, spread, text

MEASURE = "privedge evaluate original --data FILE.npz --owners 3 --out DIR"


def section(found: Found) -> Section:
    """Error by training step, for each owner."""
    sources = found.of("original")
    blocks: list[Block] = []
    if sources:
        blocks.append(
            Paragraph(
                "The network of the paper, trained as far as the time given allowed. Where its "
                "curve still falls, it was not done."
            )
        )
    else:
        blocks.append(Missing("How far the original network came", MEASURE))
    for source in sources:
        blocks += _of(source)
    return Section("original", "The original network", "Original network", tuple(blocks))


def _of(source: Source) -> list[Block]:
    steps = [row for row in source.rows if number(row, "step") is not None]
    ends = [row for row in source.rows if number(row, "macro_recall") is not None]
    blocks: list[Block] = [Heading(label(source.settings))]
    for name, title in (
        ("validation_error", "Error on images held out"),
        ("loss", "Training loss"),
    ):
        lines = tuple(
            series(who, [_point(row, name) for row in steps if _who(row) == who])
            for who in in_order(map(_who, steps))
        )
        drawn = tuple(line for line in lines if line.points)
        if drawn:
            blocks.append(_curve(source, steps, name, title, drawn))
    if steps:
        blocks.append(_table(source, steps))
    blocks += [_end(source, row) for row in ends]
    return blocks


def _who(row: Row) -> str:
    seed = seed_of(row)
    owner = text(row, "owner", "unnamed")
    return owner if seed is None else f"{owner}, seed {seed}"


def _point(row: Row, name: str) -> Point | None:
    return point(number(row, "step") or 0.0, spread([number(row, name)]))


def _curve(
    source: Source, steps: list[Row], name: str, title: str, drawn: tuple[Series, ...]
) -> Block:
    return curve(
        f"{title}: {label(source.settings)}",
        f"{title} by training step, one line an owner.",
        Chart("training step", title.lower(), drawn),
        evidence([(source, steps)], ("seed", "owner", "step", "seconds", name)),
    )


def _table(source: Source, steps: list[Row]) -> Table:
    lines = []
    for who in in_order(map(_who, steps)):
        mine = sorted(
            (row for row in steps if _who(row) == who), key=lambda row: number(row, "step") or 0.0
        )
        first, last = mine[0], mine[-1]
        best = min(
            (v for row in mine if (v := number(row, "validation_error")) is not None), default=None
        )
        lines.append(
            (
                who,
                text(last, "step"),
                seconds(number(last, "seconds")),
                *(_plain(number(row, "validation_error")) for row in (first, last)),
                _plain(best),
            )
        )
    return Table(
        f"How far each owner's training came, {label(source.settings)}.",
        ("owner", "steps", "time", "error at first", "error at the end", "least error"),
        tuple(lines),
        evidence([(source, steps)], ("seed", "owner", "step", "seconds", "validation_error")),
    )


def _plain(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4g}"


def _end(source: Source, row: Row) -> Block:
    figures = ("macro_recall", "macro_precision", "accuracy", "auroc_known")
    return Table(
        f"What the networks then told apart, {label(source.settings)}, seed {text(row, 'seed')}.",
        ("figure", "value"),
        tuple(
            (name.replace("_", " "), percent(number(row, name)))
            for name in figures
            if number(row, name) is not None
        ),
        evidence([(source, [row])]),
    )
