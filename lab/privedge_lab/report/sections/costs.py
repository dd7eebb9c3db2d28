"""What the private path costs: what `privedge bench ... --json` printed. Figures only."""

from collections.abc import Sequence

from privedge_lab.pages.wording import (
    NOT_MEASURED,
    bare,
    in_order,
    percent,
    plural,
    seconds,
    size,
)
from privedge_lab.report.blocks import Block, Heading, Missing, Paragraph, Section, Table, evidence
from privedge_lab.report.reader import File, Found
from privedge_lab.results.rows.bench import (
    MemoryRow,
    PeerRow,
    ProductRow,
    QueryRow,
    ThroughputRow,
    TrainRow,
    UploadRow,
)
from privedge_lab.results.rows.row import Row
from privedge_lab.results.rows.values import Value, plain

QUERY = "privedge bench query --preset subspace32 --owners 10 --json > DIR/bench.json"


def section(found: Found) -> Section:
    """Queries in full, other benches as they are."""
    queries = found.of(QueryRow)
    others: list[File[Row]] = found.of(
        *(ThroughputRow, UploadRow, MemoryRow, TrainRow, ProductRow, PeerRow)
    )
    blocks: list[Block] = []
    if queries or others:
        blocks.append(
            Paragraph(
                "Measured on one machine with made-up models: cost depends on shapes only. Real "
                "parties are further apart, and every round then takes one round trip."
            )
        )
    if queries:
        blocks.append(_queries(queries))
    else:
        blocks.append(Missing("Seconds, rounds and bytes of a private question", QUERY))
    for kind in in_order(file.source.experiment for file in others):
        same = [file for file in others if file.source.experiment == kind]
        blocks += [Heading(kind.capitalize()), _as_it_is(kind, same)]
    return Section("costs", "What a private question costs", "Cost", tuple(blocks))


def setting(row: QueryRow) -> str:
    """What a bench asked, in words; what is usual is left out."""
    parts = [row.preset or "unnamed", plural(row.owners or 0, "owner")]
    if (images := row.batch or 1) != 1:
        parts.append(plural(images, "image"))
    if row.rtt_ms:
        parts.append(f"servers {bare(row.rtt_ms)} ms apart")
    if row.pool == "empty":
        parts.append("nothing prepared")
    return ", ".join(parts)


def _queries(files: Sequence[File[QueryRow]]) -> Table:
    lines = [
        (
            f"{setting(row)}: {row.engine or 'unnamed engine'}",
            seconds(row.median_s),
            seconds(row.online_s),
            bare(row.rounds, NOT_MEASURED),
            size(row.bytes_per_party),
            size(row.dealer_bytes_per_party),
            seconds(row.cpu_s),
            percent(row.agreement, 2),
        )
        for file in files
        for row in file.rows
    ]
    titles = ("preset and cohort", "as the client waits", "online", "rounds", "to the other party")
    return Table(
        "A private question: medians. Agreement: answers as the plaintext model gives them.",
        (*titles, "from the dealer", "CPU of all servers", "agreement"),
        tuple(sorted(lines, key=lambda line: line[0].partition(",")[0])),
        evidence([(file.source, file.rows) for file in files], _FIELDS),
    )


_FIELDS = (
    *("engine", "preset", "owners", "batch", "queries", "cold_s", "median_s", "p95_s", "wall_s"),
    *("online_s", "rounds", "bytes_per_party", "dealer_bytes_per_party", "offline_cpu_s", "cpu_s"),
    *("agreement", "ties", "differing", "pool", "rtt_ms"),
)


def _as_it_is(kind: str, files: Sequence[File[Row]]) -> Table:
    """Every figure of every row, under its own name."""
    rows = [row.named_values() for file in files for row in file.rows]
    names = list(rows[0]) or ["row"]
    lines = tuple(tuple(_cell(row.get(name)) for name in names) for row in rows)
    titles = tuple(plain(name).replace("_", " ") for name in names)
    given = evidence([(file.source, file.rows) for file in files])
    return Table(f"As printed by privedge {kind}.", titles, lines, given)


def _cell(value: Value) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:.4g}"
