"""Disguised images: results of `attack disguising`, what it costs and what it gives away."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from privedge_lab.pages.charts import Chart, Point, series
from privedge_lab.pages.wording import NOT_MEASURED, bare, decibels, in_order, percent
from privedge_lab.report.blocks import Block, Missing, Paragraph, Section, Table, curve, evidence
from privedge_lab.report.pictures import Album, Inline
from privedge_lab.report.reader import File, Found
from privedge_lab.report.sections.inversion import sheet
from privedge_lab.results.rows.disguising import DisguisingRow
from privedge_lab.results.rows.values import Figure

MEASURE = "privedge attack disguising --data FILE.npz --out DIR"
_WITH_PAIRS = ("regression", "codebook")
_ADAPTIVE = ("adaptive", "adaptive-network")


@dataclass(frozen=True)
class Disguise:
    """One disguise: accuracy of a network trained on disguised images and on plain ones, shares of
    disguised images that adversaries recognise, and what known pairs recover.
    """

    file: File[DisguisingRow]
    name: str
    accuracy: float | None
    plain_accuracy: float | None
    ignorant: float | None
    adaptive: float | None
    majority: float | None
    pairs: tuple[DisguisingRow, ...] = field(repr=False)
    exact: tuple[DisguisingRow, ...] = field(repr=False)
    restored: tuple[DisguisingRow, ...] = field(repr=False)
    sizes: tuple[DisguisingRow, ...] = field(repr=False)

    @property
    def most_pairs(self) -> DisguisingRow | None:
        """The row of the most known pairs."""
        return max(self.pairs, key=lambda row: row.pairs or 0.0, default=None)


def disguises(found: Found) -> list[Disguise]:
    """All of them, in the order measured."""
    return [
        _of(file, name, [row for row in file.rows if _name(row) == name])
        for file in found.of(DisguisingRow)
        for name in in_order(map(_name, file.rows))
    ]


def _name(row: DisguisingRow) -> str:
    return row.disguise or "unnamed"


def _of(file: File[DisguisingRow], name: str, rows: Sequence[DisguisingRow]) -> Disguise:
    def one(attack: str, figure: Callable[[DisguisingRow], Figure]) -> Figure:
        mine = (figure(row) for row in rows if row.attack == attack)
        return next(mine, None)

    def all_of(*attacks: str) -> tuple[DisguisingRow, ...]:
        return tuple(row for row in rows if row.attack in attacks)

    majority = one("adaptive", lambda row: row.majority)
    recognised = [row.accuracy for row in all_of(*_ADAPTIVE) if row.accuracy is not None]
    return Disguise(
        file,
        name,
        one("membership", lambda row: row.task_accuracy),
        one("membership", lambda row: row.plain_accuracy),
        one("visual", lambda row: row.accuracy),
        max(recognised, default=None),
        one("visual", lambda row: row.majority) if majority is None else majority,
        all_of(*_WITH_PAIRS),
        all_of("full-rank"),
        all_of("restored"),
        all_of("size"),
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
    for file in found.of(DisguisingRow):
        mine = [each for each in known if each.file.source is file.source]
        blocks += [_table(file, mine), *_sizes(file, mine), *_pairs(file, mine)]
        blocks += [_sheet(file, inline) for inline in album.of(file.source)]
    return Section("disguising", "Disguised images", "Disguising", tuple(blocks))


def _table(file: File[DisguisingRow], mine: Sequence[Disguise]) -> Table:
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
        f"(guessing: {guessing}); {file.about.data or 'unnamed data'}.",
        (*titles, "recognised by who adapts", "recovered with known pairs"),
        tuple(lines),
        evidence([(file.source, [row for row in file.rows if row.attack not in _WITH_PAIRS])]),
    )


def _recovered(each: Disguise) -> str:
    exact = min((row.error for row in each.exact if row.error is not None), default=None)
    told = []
    if exact is not None:
        told.append(f"every pixel to {exact:.0e}")
    row = each.most_pairs
    if row is not None:
        told.append(f"{decibels(row.psnr_db)} with {bare(row.pairs, 'some')} pairs")
    best = max(each.restored, key=lambda row: row.pairs or 0.0, default=None)
    if best is not None:
        told.append(f"restored: {decibels(best.psnr_db)}")
    return "; ".join(told) or NOT_MEASURED


def _sizes(file: File[DisguisingRow], mine: Sequence[Disguise]) -> list[Block]:
    """Accuracy by the number of images to learn from, with each disguise and without."""
    lines = [
        series(each.name, [_reached(row, row.task_accuracy) for row in each.sizes])
        for each in mine
        if each.sizes
    ]
    if not lines:
        return []
    plain = next(each.sizes for each in mine if each.sizes)
    lines.append(series("plain", [_reached(row, row.plain_accuracy) for row in plain]))
    rows = [row for each in mine for row in each.sizes]
    return [
        curve(
            f"What a disguise costs, by training images: {file.about.data or 'unnamed data'}",
            "Accuracy of networks that learnt from so many images, all in as many steps.",
            Chart("training images", "accuracy of the task", tuple(lines), "share", log_x=True),
            evidence(
                [(file.source, rows)],
                ("seed", "disguise", "training_images", "task_accuracy", "plain_accuracy"),
            ),
        )
    ]


def _reached(row: DisguisingRow, accuracy: Figure) -> Point:
    value = accuracy or 0.0
    return Point(max(row.training_images or 1.0, 1.0), value, value, value)


def _pairs(file: File[DisguisingRow], mine: Sequence[Disguise]) -> list[Block]:
    lines = [
        series(each.name, [_point(row) for row in each.pairs if row.psnr_db is not None])
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
            evidence(
                [(file.source, rows)], ("seed", "disguise", "attack", "pairs", "psnr_db", "ssim")
            ),
        )
    ]


def _point(row: DisguisingRow) -> Point:
    value, around = row.psnr_db or 0.0, row.psnr_95 or 0.0
    return Point(max(row.pairs or 1.0, 1.0), value, value - around, value + around)


def _sheet(file: File[DisguisingRow], inline: Inline) -> Block:
    rows = [row for row in file.rows if row.disguise == inline.name]
    known = "two rows recovered by who knows pairs: of few and of many pairs"
    if inline.name == "aes":
        known = "silhouettes from frequencies alone, and blocks recovered with known pairs"
    return sheet(
        file.source,
        inline,
        f"Disguised by {inline.name}, and recovered",
        f"From the top: originals, disguised images, {known}.",
        [row for row in rows if row.attack not in _WITH_PAIRS],
    )
