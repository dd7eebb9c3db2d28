"""Disguised images: results of `attack disguising`, what it costs and what it gives away."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from privedge_lab.report.blocks import Block, Missing, Paragraph, Section, Table, curve, evidence
from privedge_lab.report.charts import Chart, Point, series
from privedge_lab.report.pictures import Album, Inline
from privedge_lab.report.reader import Found, Source
from privedge_lab.report.sections.inversion import sheet
from privedge_lab.report.values import NOT_MEASURED, Row, decibels, in_order, number, percent, text

MEASURE = "privedge attack disguising --data FILE.npz --out DIR"
_WITH_PAIRS = ("regression", "codebook")


@dataclass(frozen=True)
class Disguise:
    """One disguise: accuracy of a network trained on disguised images and on plain ones, shares of
    disguised images that adversaries recognise, and what known pairs recover.
    """

    source: Source
    name: str
    accuracy: float | None
    plain_accuracy: float | None
    ignorant: float | None
    adaptive: float | None
    majority: float | None
    pairs: tuple[Row, ...] = field(repr=False)
    exact: tuple[Row, ...] = field(repr=False)

    @property
    def most_pairs(self) -> Row | None:
        """The row of the most known pairs."""
        return max(self.pairs, key=lambda row: number(row, "pairs") or 0.0, default=None)


def disguises(found: Found) -> list[Disguise]:
    """All of them, in the order measured."""
    return [
        _of(source, name, [row for row in source.rows if text(row, "disguise", "unnamed") == name])
        for source in found.of("disguising")
        for name in in_order(text(row, "disguise", "unnamed") for row in source.rows)
    ]


def _of(source: Source, name: str, rows: Sequence[Row]) -> Disguise:
    def one(attack: str, figure: str) -> float | None:
        mine = (number(row, figure) for row in rows if row.get("attack") == attack)
        return next(mine, None)

    majority = one("adaptive", "majority")
    return Disguise(
        source,
        name,
        one("membership", "task_accuracy"),
        one("membership", "plain_accuracy"),
        one("visual", "accuracy"),
        one("adaptive", "accuracy"),
        one("visual", "majority") if majority is None else majority,
        tuple(row for row in rows if row.get("attack") in _WITH_PAIRS),
        tuple(row for row in rows if row.get("attack") == "full-rank"),
    )


def section(found: Found, album: Album) -> Section:
    """A table, recovery by known pairs, and the pictures."""
    known = disguises(found)
    blocks: list[Block] = []
    if known:
        blocks.append(
            Paragraph(
                "Images are sent under one secret key that never changes. That is obfuscation, not "
                "encryption: who adapts to it recognises what is on them without the key.",
                "warning",
            )
        )
    else:
        blocks.append(Missing("What disguised images cost and give away", MEASURE))
    for source in found.of("disguising"):
        mine = [each for each in known if each.source is source]
        blocks += [_table(source, mine), *_pairs(source, mine)]
        blocks += [_sheet(source, inline) for inline in album.of(source)]
    return Section("disguising", "Disguised images", "Disguising", tuple(blocks))


def _table(source: Source, mine: Sequence[Disguise]) -> Table:
    lines = [
        (
            each.name,
            percent(each.accuracy),
            percent(each.plain_accuracy),
            percent(each.ignorant),
            percent(each.adaptive),
            _recovered(each),
        )
        for each in mine
    ]
    titles = ("disguise", "accuracy, disguised", "accuracy, plain", "recognised by who ignores it")
    guessing = percent(mine[0].majority)
    return Table(
        f"What each disguise costs the task, and how many disguised images are recognised "
        f"(guessing: {guessing}); {text(source.settings, 'data', 'unnamed data')}.",
        (*titles, "recognised by who adapts", "recovered with known pairs"),
        tuple(lines),
        evidence([(source, [row for row in source.rows if row.get("attack") not in _WITH_PAIRS])]),
    )


def _recovered(each: Disguise) -> str:
    exact = min(
        (error for row in each.exact if (error := number(row, "error")) is not None), default=None
    )
    told = []
    if exact is not None:
        told.append(f"every pixel to {exact:.0e}")
    row = each.most_pairs
    if row is not None:
        told.append(f"{decibels(number(row, 'psnr_db'))} with {text(row, 'pairs')} pairs")
    return "; ".join(told) or NOT_MEASURED


def _pairs(source: Source, mine: Sequence[Disguise]) -> list[Block]:
    lines = [
        series(each.name, [_point(row) for row in each.pairs if number(row, "psnr_db") is not None])
        for each in mine
    ]
    drawn = tuple(line for line in lines if line.points)
    if not drawn:
        return []
    rows = [row for each in mine for row in each.pairs]
    return [
        curve(
            "What known pairs of plain and disguised images recover",
            "PSNR of other images, recovered by somebody who knows so many pairs; bars are 95 % "
            "intervals over the images.",
            Chart("known pairs", "PSNR, dB", drawn, "dB", log_x=True),
            evidence([(source, rows)], ("seed", "disguise", "attack", "pairs", "psnr_db", "ssim")),
        )
    ]


def _point(row: Row) -> Point:
    value, around = number(row, "psnr_db") or 0.0, number(row, "psnr_95") or 0.0
    return Point(max(number(row, "pairs") or 1.0, 1.0), value, value - around, value + around)


def _sheet(source: Source, inline: Inline) -> Block:
    rows = [row for row in source.rows if row.get("disguise") == inline.name]
    known = "two rows recovered by who knows pairs: of few and of many pairs"
    if inline.name == "aes":
        known = "silhouettes from frequencies alone, and blocks recovered with known pairs"
    return sheet(
        source,
        inline,
        f"Disguised by {inline.name}, and recovered",
        f"From the top: originals, disguised images, {known}.",
        [row for row in rows if row.get("attack") not in _WITH_PAIRS],
    )
