"""Signals of sensors behind dropped activation outputs: results of `split signals`."""

from privedge_lab.pages.wording import decibels
from privedge_lab.report.blocks import Block, Missing, Paragraph, Section, Table, evidence
from privedge_lab.report.reader import File, Found
from privedge_lab.results.rows.signals import SignalsRow
from privedge_lab.results.rows.values import shown

MEASURE = "privedge split signals --out FILE.json"
_FIELDS = (
    *("seed", "task", "network", "strength", "repeat", "attack", "kept", "inputs", "holds"),
    *("measure", "quality", "psnr_db", "psnr_db_plus_minus", "correlation", "device_us"),
    *("sent_bytes", "signals"),
)


def section(found: Found) -> Section:
    """One table a file."""
    files = found.of(SignalsRow)
    blocks: list[Block] = []
    if files:
        blocks.append(
            Paragraph(
                "A sensor computes one layer and sends some of its outputs. Counting says that "
                "fewer outputs than values of the signal do not determine it. An attacker who "
                "knows such signals needs fewer."
            )
        )
    else:
        blocks.append(Missing("Signals reconstructed from dropped activation outputs", MEASURE))
    blocks += [_table(file) for file in files]
    return Section("signals", "Signals of sensors", "Signals", tuple(blocks))


def _table(file: File[SignalsRow]) -> Table:
    lines = [
        (
            f"{row.task}, {row.network}, {shown(row.strength, 'g')} dropped, {row.repeat}",
            f"{shown(row.kept, '.0f')} for {shown(row.inputs, '.0f')}",
            _counts(row),
            f"{row.measure} {shown(row.quality, '.3f')}",
            row.attack or "an attack",
            decibels(row.psnr_db, row.psnr_db_plus_minus),
            shown(row.correlation, ".3f"),
            f"{shown(row.device_us, '.0f')} µs, {shown(row.sent_bytes, '.0f')} bytes",
        )
        for row in file.rows
    ]
    titles = ("task", "kept", "counting condition", "what the task reaches", "attack", "PSNR")
    return Table(
        "Every attack on every choice; ± are 95 % intervals over the signals. The device's time is "
        "of one core, for one signal.",
        (*titles, "correlation", "device"),
        tuple(lines),
        evidence([(file.source, file.rows)], _FIELDS),
    )


def _counts(row: SignalsRow) -> str:
    if row.holds is None:
        return "not measured"
    return "holds" if row.holds else "does not hold"
