"""The original network: results of `evaluate original`, its convergence and what it reached."""

from collections.abc import Callable, Sequence

from privedge_lab.pages.charts import Chart, Point, Series, point, series
from privedge_lab.pages.wording import (
    NOT_MEASURED,
    bare,
    in_order,
    percents,
    plural,
    seconds,
    spread,
)
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
from privedge_lab.report.cohorts import BASELINES, label
from privedge_lab.report.reader import File, Found
from privedge_lab.results.rows.original import OriginalRow
from privedge_lab.results.rows.scores import Scores
from privedge_lab.results.rows.values import Figure, plain

MEASURE = "privedge evaluate original --data FILE.npz --owners 3 --minutes 60 --out DIR"
_Error = Callable[[OriginalRow], Figure]
# By the key that has it.
_ERRORS: tuple[tuple[str, _Error, str], ...] = (
    ("validation_error", lambda row: row.validation_error, "Error on images held out"),
    ("loss", lambda row: row.loss, "Training loss"),
)


def section(found: Found) -> Section:
    """Error by training step, for each owner, and how well owners were told apart meanwhile."""
    files = found.of(OriginalRow)
    blocks: list[Block] = []
    if files:
        blocks.append(
            Paragraph(
                "The network of the paper, trained as far as the time given allowed. Where a "
                "curve still falls or rises, it was not done."
            )
        )
    else:
        blocks.append(Missing("How far the original network came", MEASURE))
    for file in files:
        blocks += _of(file)
    return Section("original", "The original network", "Original network", tuple(blocks))


def last(rows: Sequence[OriginalRow]) -> OriginalRow | None:
    """The figures at the end: the row that says so, or that of the longest training so far."""
    reached = [row for row in rows if row.macro_recall is not None]
    final = [row for row in reached if row.final]
    longest = sorted(reached, key=lambda row: row.seconds_each or 0.0)
    chosen = final or longest
    return chosen[-1] if chosen else None


def _of(file: File[OriginalRow]) -> list[Block]:
    blocks: list[Block] = [Heading(label(file.about))]
    steps = [row for row in file.rows if row.step is not None]
    reached = [
        row for row in file.rows if row.macro_recall is not None and row.seconds_each is not None
    ]
    if len(reached) > 1:
        blocks.append(_recall(file, reached))
    for name, error, title in _ERRORS:
        lines = tuple(
            series(who, [_point(row, error) for row in steps if _who(row) == who])
            for who in in_order(map(_who, steps))
        )
        drawn = tuple(line for line in lines if line.points)
        if drawn:
            blocks.append(_curve(file, steps, name, title, drawn))
    if steps:
        blocks.append(_table(file, steps))
    end = last(file.rows)
    return [*blocks, _end(file, end)] if end is not None else blocks


def _recall(file: File[OriginalRow], reached: list[OriginalRow]) -> Block:
    """Macro recall against seconds of training, with what is held against it as lines."""
    end = last(file.rows)
    levels = {
        BASELINES.get(plain(name), plain(name)): scores.macro_recall
        for name, scores in (end.baselines.items() if end is not None else ())
        if scores.macro_recall is not None
    }
    seeds = in_order(f"seed {row.seed}" for row in reached)
    lines = [
        series(
            seed,
            [
                point(row.seconds_each or 0.0, spread([row.macro_recall]))
                for row in reached
                if f"seed {row.seed}" == seed
            ],
        )
        for seed in seeds
    ]
    fields = ("seed", "point", "seconds_each", "macro_recall", "final")
    return curve(
        f"Owners told apart while training: {label(file.about)}",
        "Macro recall against the seconds that each owner's network has been trained for.",
        Chart("seconds of training", "macro recall", tuple(lines), "share", levels=levels),
        evidence([(file.source, reached)], fields),
    )


def _who(row: OriginalRow) -> str:
    owner = row.owner or "unnamed"
    return owner if row.seed is None else f"{owner}, seed {row.seed}"


def _point(row: OriginalRow, error: _Error) -> Point | None:
    return point(row.step or 0.0, spread([error(row)]))


def _curve(
    file: File[OriginalRow],
    steps: list[OriginalRow],
    name: str,
    title: str,
    drawn: tuple[Series, ...],
) -> Block:
    return curve(
        f"{title}: {label(file.about)}",
        f"{title} by training step, one line an owner.",
        Chart("training step", title.lower(), drawn),
        evidence([(file.source, steps)], ("seed", "owner", "step", "seconds", name)),
    )


def _table(file: File[OriginalRow], steps: list[OriginalRow]) -> Table:
    lines = []
    for who in in_order(map(_who, steps)):
        mine = [row for row in steps if _who(row) == who]
        mine.sort(key=lambda row: row.step or 0.0)
        errors = [row.validation_error for row in mine if row.validation_error is not None]
        lines.append(
            (
                who,
                bare(mine[-1].step),
                seconds(mine[-1].seconds),
                *(_plain(row.validation_error) for row in (mine[0], mine[-1])),
                _plain(min(errors, default=None)),
            )
        )
    return Table(
        f"How far each owner's training came, {label(file.about)}.",
        ("owner", "steps", "time", "error at first", "error at the end", "least error"),
        tuple(lines),
        evidence([(file.source, steps)], ("seed", "owner", "step", "seconds", "validation_error")),
    )


def _plain(value: Figure) -> str:
    return NOT_MEASURED if value is None else f"{value:.4g}"


def _end(file: File[OriginalRow], row: OriginalRow) -> Table:
    name = row.preset or file.about.network or "original network"
    lines = [(f"{name}, after {seconds(row.seconds_each)} an owner", *_figures(row))]
    lines += [
        (BASELINES.get(plain(other), plain(other)), *_figures(scores))
        for other, scores in row.baselines.items()
    ]
    published = row.published_steps
    batch = bare(row.published_batch)
    than = (
        "" if published is None else f" Published: {plural(published, 'step')} of {batch} images."
    )
    return Table(
        f"What they then told apart, on the same images, {label(file.about)}.{than}",
        ("models", "macro recall", "macro precision", "accuracy"),
        tuple(lines),
        evidence([(file.source, [row])]),
    )


def _figures(given: OriginalRow | Scores) -> Sequence[str]:
    figures = (given.macro_recall, given.macro_precision, given.accuracy)
    return [percents(spread([figure])) for figure in figures]
