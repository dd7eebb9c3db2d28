"""Images made of what split inference sends: results of `attack table` and `split sweep`."""

from collections.abc import Sequence

from privedge_lab.pages.charts import Chart, Point, series
from privedge_lab.pages.wording import decibels, in_order, percent
from privedge_lab.report import leaks
from privedge_lab.report.blocks import (
    Block,
    Heading,
    Missing,
    Paragraph,
    Picture,
    Section,
    Table,
    curve,
    evidence,
)
from privedge_lab.report.leaks import (
    NONE,
    Choice,
    Inversion,
    choice_of,
    guesses,
    is_inversion,
)
from privedge_lab.report.pictures import Album, Inline
from privedge_lab.report.reader import File, Found, Source
from privedge_lab.results.rows.inversion import InversionRow
from privedge_lab.results.rows.inversion_settings import InversionSettingRow
from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.sweep import SweepRow
from privedge_lab.results.rows.values import shown

TABLE = "privedge attack table --data FILE.npz --out DIR"
SWEEP = (
    "privedge split sweep FILE.npz --cuts relu2 --defences gaussian --strengths 0.5,1,2 "
    "--out FILE.json --sheet FILE.png"
)
_FIELDS = (
    *("seed", "attack", "cut", "defence", "strength", "task_accuracy", "psnr_db"),
    *("psnr_db_plus_minus", "ssim", "ssim_plus_minus", "mean_image_psnr_db", "mean_image_ssim"),
)
_SETTING_FIELDS = (
    *("seed", "setting", "network", "cut", "psnr_db", "psnr_db_plus_minus", "ssim"),
    *("ssim_plus_minus", "paper_psnr_db", "paper_ssim", "task_accuracy", "images"),
)


def section(found: Found, album: Album) -> Section:
    """Curves by cut and by strength, a table, and the contact sheets."""
    files = leaks.attacked(found)
    blocks: list[Block] = []
    settings = found.of(InversionSettingRow)
    if files or settings:
        blocks.append(
            Paragraph(
                "Without private computation one server gets what a network's first layers make of "
                "an image. These attacks make images of it again: the more decibels (PSNR) and the "
                "nearer SSIM comes to 1, the more like the original. An attack that looks at "
                "nothing answers with the mean image."
            )
        )
    else:
        blocks.append(Missing("Images reconstructed from split inference", TABLE))
    for file in files:
        blocks += _of(file, album)
    blocks += map(_settings, settings)
    return Section("inversion", "Images made of split inference", "Inversion", tuple(blocks))


def _of(file: File[Inversion], album: Album) -> list[Block]:
    rows = [row for row in file.rows if is_inversion(row)]
    if not rows:
        return []
    first = choice_of(file.about, rows[0])
    title = f"{first.data}, {first.network}{first.how}"
    blocks: list[Block] = [Heading(f"{title}: {file.source.experiment}, {file.shown}")]
    cuts = in_order(_cut(file, row) for row in rows)
    plain = [row for row in rows if _defence(row) == NONE]
    if len({_cut(file, row) for row in plain}) > 1:
        blocks.append(_depth(file, title, cuts, plain))
    for cut in cuts:
        blocks += _trade(file, title, cut)
    for cut in cuts:
        blocks += _defences(file, title, cut, rows)
    blocks.append(_table(file, title, rows))
    return blocks + [_sheet(file, inline) for inline in album.of(file.source)]


def _settings(file: File[InversionSettingRow]) -> Table:
    """The nine settings of He et al. beside the paper's own figures."""
    lines = [
        (
            f"{row.network}, {row.cut}",
            row.setting or "an attack",
            decibels(row.psnr_db, row.psnr_db_plus_minus),
            shown(row.ssim, ".3f"),
            f"{shown(row.paper_psnr_db, '.1f')} dB / {shown(row.paper_ssim, '.3f')}",
        )
        for row in file.rows
    ]
    return Table(
        "The settings of He et al. 2019; ± are 95 % intervals over the images. The paper's figures "
        "are means over 10 images.",
        ("network and cut", "setting", "PSNR", "SSIM", "the paper"),
        tuple(lines),
        evidence([(file.source, file.rows)], _SETTING_FIELDS),
    )


def _cut(file: File[Inversion], row: Inversion) -> str:
    return choice_of(file.about, row).cut


def _defence(row: Inversion) -> str:
    return row.defence or NONE


def _depth(
    file: File[Inversion], title: str, cuts: Sequence[str], rows: Sequence[Inversion]
) -> Block:
    ordered = _as_in_network(cuts)
    lines = tuple(
        series(attack, [_point(row, ordered.index(_cut(file, row))) for row in mine])
        for attack, mine in _by_attack(rows).items()
    )
    guess = _guess(file, rows)
    chart = Chart(
        "last layer on the device",
        "PSNR, dB",
        lines,
        "dB",
        tuple(ordered),
        {} if guess is None else {"mean image": guess},
    )
    return curve(
        f"Where the network is cut: {title}",
        "Without a defence. Means over the images attacked, bars their 95 % interval.",
        chart,
        evidence([(file.source, [*guesses(file.rows), *rows])], _FIELDS),
    )


def _as_in_network(cuts: Sequence[str]) -> list[str]:
    """Known layers from the image on; others stay in the order measured, at the end."""
    known = ("conv1", "relu1", "pool1", "conv2", "relu2", "pool2", "conv3", "relu3", "relu5")
    places = {name: at for at, name in enumerate((*known, "flatten", "fc1", "squash", "fc2"))}
    return sorted(cuts, key=lambda cut: places.get(cut, len(places)))


def _trade(file: File[Inversion], title: str, cut: str) -> list[Block]:
    """What is left to the task and what to the strongest attack, by defence and strength."""
    cases = [case for case in leaks.inverted([file]) if case.choice.cut == cut]
    cases = [case for case in cases if case.accuracy is not None]
    names = in_order(case.choice.defence for case in cases)
    if len(names) < 2:
        return []
    lines = tuple(
        series(
            name if name != NONE else "no defence",
            [_traded(c) for c in cases if c.choice.defence == name],
        )
        for name in names
    )
    guess = next((case.guess_ssim for case in cases if case.guess_ssim is not None), None)
    levels = {} if guess is None else {"mean image": guess}
    chart = Chart("accuracy of the task", "SSIM", lines, x_unit="share", levels=levels)
    return [
        curve(
            f"Leakage against accuracy, cut after {cut}: {title}",
            "The best defence is at the lower right. SSIM of the strongest attack on each "
            "strength; the stronger the defence, the further left.",
            chart,
            evidence([(file.source, [row for case in cases for row in case.rows])], _FIELDS),
        )
    ]


def _traded(case: leaks.Inverted) -> Point:
    return Point(case.accuracy or 0.0, case.ssim, case.ssim, case.ssim)


def _defences(
    file: File[Inversion], title: str, cut: str, rows: Sequence[Inversion]
) -> list[Block]:
    """PSNR by strength of each defence at this cut, with the accuracy that is left."""
    here = [row for row in rows if _cut(file, row) == cut]
    plain = [row for row in here if _defence(row) == NONE]
    blocks: list[Block] = []
    for defence in in_order(map(_defence, here)):
        mine = [row for row in here if _defence(row) == defence]
        if defence == NONE:
            continue
        lines = tuple(
            series(attack, [_point(row, row.strength or 0.0) for row in with_zero])
            for attack, with_zero in _by_attack([*plain, *mine]).items()
            if any(_defence(row) == defence for row in with_zero)
        )
        guess = _guess(file, mine)
        levels = {} if guess is None else {"mean image": guess}
        chart = Chart(f"strength of {defence}", "PSNR, dB", lines, "dB", levels=levels)
        told = "; ".join(_left(mine)) or "not stored"
        blocks.append(
            curve(
                f"{defence.capitalize()} after {cut}: {title}",
                f"Strength 0 is no defence. Accuracy of the task that is left: {told}.",
                chart,
                evidence([(file.source, [*plain, *mine])], _FIELDS),
            )
        )
    return blocks


def _left(rows: Sequence[Inversion]) -> list[str]:
    by_strength = {row.strength or 0.0: row.task_accuracy for row in rows}
    return [f"{percent(by_strength[each])} at {each:g}" for each in sorted(by_strength)]


def _by_attack(rows: Sequence[Inversion]) -> dict[str, list[Inversion]]:
    found: dict[str, list[Inversion]] = {}
    for row in rows:
        found.setdefault(row.attack or "an attack", []).append(row)
    return found


def _point(row: Inversion, x: float) -> Point:
    value, around = row.psnr_db or 0.0, row.psnr_db_plus_minus or 0.0
    return Point(x, value, value - around, value + around)


def _guess(file: File[Inversion], rows: Sequence[Inversion]) -> float | None:
    stored = guesses(file.rows)
    if stored:
        return stored[0].psnr_db
    return rows[0].mean_image_psnr_db if isinstance(rows[0], SweepRow) else None


def _table(file: File[Inversion], title: str, rows: Sequence[Inversion]) -> Table:
    def order(row: Inversion) -> tuple[str, bool, str, float]:
        choice = choice_of(file.about, row)
        return choice.cut, choice.defence != NONE, choice.defence, choice.strength

    lines = [_line(choice_of(file.about, row), row) for row in sorted(rows, key=order)]
    return Table(
        f"Every attack on every choice, {title}; ± are 95 % intervals over the images.",
        ("cut and defence", "attack", "PSNR", "SSIM", "accuracy of the task"),
        tuple(lines),
        evidence([(file.source, rows)], _FIELDS),
        folded=f"All {len(lines)} rows as a table",
    )


def _line(choice: Choice, row: Inversion) -> tuple[str, ...]:
    return (
        f"{choice.cut}, {choice.named}",
        row.attack or "an attack",
        decibels(row.psnr_db, row.psnr_db_plus_minus),
        f"{row.ssim or 0.0:.3f}",
        percent(row.task_accuracy),
    )


def _sheet(file: File[Inversion], inline: Inline) -> Picture:
    if file.source.kind is InversionRow and inline.name.startswith("sheet-"):
        cut = inline.name.removeprefix("sheet-")
        return sheet(
            file.source,
            inline,
            f"Reconstructions, cut after {cut}",
            "The first row are the originals; below, one row for each attack and defence, with its "
            "PSNR and SSIM.",
            [row for row in file.rows if row.cut == cut],
        )
    caption = "Drawn by the experiment. In a contact sheet, the first row are the originals."
    title = f"{inline.name}: picture of {file.source.experiment}"
    return sheet(file.source, inline, title, caption, [])


def sheet(source: Source, inline: Inline, title: str, caption: str, rows: Sequence[Row]) -> Picture:
    """A picture that lay beside `source`, as a figure."""
    given = evidence([(source, rows)], _FIELDS)
    says = f"{title}. {caption} File {inline.shown}."
    return Picture(title, caption, inline.uri, inline.width, inline.height, says, given)
