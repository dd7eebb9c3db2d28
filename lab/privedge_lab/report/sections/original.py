"""The original network: results of `evaluate original`, its convergence and what it reached."""

from collections.abc import Sequence

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
from privedge_lab.report.charts import Chart, Point, Series, point, series
from privedge_lab.report.cohorts import BASELINES, label
from privedge_lab.report.reader import Found, Source
from privedge_lab.report.values import (
    NOT_MEASURED,
    Row,
    in_order,
    number,
    percents,
    plain,
    plural,
    seconds,
    seed_of,
    spread,
    text,
)

MEASURE = "privedge evaluate original --data FILE.npz --owners 3 --minutes 60 --out DIR"
_ERRORS = (("validation_error", "Error on images held out"), ("loss", "Training loss"))


def section(found: Found) -> Section:
    """Error by training step, for each owner, and how well owners were told apart meanwhile."""
    sources = found.of("original")
    blocks: list[Block] = []
    if sources:
        blocks.append(
            Paragraph(
                "The network of the paper, trained as far as the time given allowed. Where a "
                "curve still falls or rises, it was not done."
            )
        )
    else:
        blocks.append(Missing("How far the original network came", MEASURE))
    for source in sources:
        blocks += _of(source)
    return Section("original", "The original network", "Original network", tuple(blocks))


def last(source: Source) -> Row | None:
    """The figures at the end: the row that says so, or that of the longest training so far."""
    reached = [row for row in source.rows if number(row, "macro_recall") is not None]
    final = [row for row in reached if row.get("final") is True]
    longest = sorted(reached, key=lambda row: number(row, "seconds_each") or 0.0)
    chosen = final or longest
    return chosen[-1] if chosen else None


def _of(source: Source) -> list[Block]:
    blocks: list[Block] = [Heading(label(source.settings))]
    steps = [row for row in source.rows if number(row, "step") is not None]
    reached = [
        row
        for row in source.rows
        if number(row, "macro_recall") is not None and number(row, "seconds_each") is not None
    ]
    if len(reached) > 1:
        blocks.append(_recall(source, reached))
    for name, title in _ERRORS:
        lines = tuple(
            series(who, [_point(row, name) for row in steps if _who(row) == who])
            for who in in_order(map(_who, steps))
        )
        drawn = tuple(line for line in lines if line.points)
        if drawn:
            blocks.append(_curve(source, steps, name, title, drawn))
    if steps:
        blocks.append(_table(source, steps))
    end = last(source)
    return [*blocks, _end(source, end)] if end is not None else blocks


def _recall(source: Source, reached: list[Row]) -> Block:
    """Macro recall against seconds of training, with what is held against it as lines."""
    end = last(source) or {}
    levels = {
        BASELINES.get(name, name): recall
        for name in _held_against(end)
        if (recall := number(end, "baselines", name, "macro_recall")) is not None
    }
    seeds = in_order(f"seed {seed_of(row)}" for row in reached)
    lines = [
        series(
            seed,
            [
                point(number(row, "seconds_each") or 0.0, spread([number(row, "macro_recall")]))
                for row in reached
                if f"seed {seed_of(row)}" == seed
            ],
        )
        for seed in seeds
    ]
    return curve(
        f"Owners told apart while training: {label(source.settings)}",
        "Macro recall against the seconds that each owner's network has been trained for.",
        Chart("seconds of training", "macro recall", tuple(lines), "share", levels=levels),
        evidence([(source, reached)], ("seed", "point", "seconds_each", "macro_recall", "final")),
    )


def _held_against(row: Row) -> list[str]:
    found = row.get("baselines")
    return [plain(name) for name in found] if isinstance(found, dict) else []


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
        mine = [row for row in steps if _who(row) == who]
        mine.sort(key=lambda row: number(row, "step") or 0.0)
        errors = [error for row in mine if (error := number(row, "validation_error")) is not None]
        lines.append(
            (
                who,
                text(mine[-1], "step"),
                seconds(number(mine[-1], "seconds")),
                *(_plain(number(row, "validation_error")) for row in (mine[0], mine[-1])),
                _plain(min(errors, default=None)),
            )
        )
    return Table(
        f"How far each owner's training came, {label(source.settings)}.",
        ("owner", "steps", "time", "error at first", "error at the end", "least error"),
        tuple(lines),
        evidence([(source, steps)], ("seed", "owner", "step", "seconds", "validation_error")),
    )


def _plain(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.4g}"


def _end(source: Source, row: Row) -> Table:
    name = text(row, "preset") or text(source.settings, "network", "original network")
    taken = seconds(number(row, "seconds_each"))
    lines = [(f"{name}, after {taken} an owner", *_figures(row))]
    lines += [
        (BASELINES.get(other, other), *_figures(row, "baselines", other))
        for other in _held_against(row)
    ]
    published = number(row, "published_steps")
    batch = text(row, "published_batch")
    than = (
        "" if published is None else f" Published: {plural(published, 'step')} of {batch} images."
    )
    return Table(
        f"What they then told apart, on the same images, {label(source.settings)}.{than}",
        ("models", "macro recall", "macro precision", "accuracy"),
        tuple(lines),
        evidence([(source, [row])]),
    )


def _figures(row: Row, *inside: str) -> Sequence[str]:
    names = ("macro_recall", "macro_precision", "accuracy")
    return [percents(spread([number(row, *inside, name)])) for name in names]
