"""What the private path costs: what `privedge bench ... --json` printed. Figures only."""

from collections.abc import Sequence

from privedge_lab.report.blocks import Block, Heading, Missing, Paragraph, Section, Table, evidence
from privedge_lab.report.reader import BENCHES, Found, Source
from privedge_lab.report.values import (
    Row,
    in_order,
    number,
    percent,
    plain,
    plural,
    seconds,
    size,
    text,
)

QUERY = "privedge bench query --preset subspace32 --owners 10 --json > DIR/bench.json"


def section(found: Found) -> Section:
    """Queries in full, other benches as they are."""
    queries = found.of("bench query")
    others = [source for source in found.of(*BENCHES.values()) if source not in queries]
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
    for kind in in_order(source.experiment for source in others):
        same = [source for source in others if source.experiment == kind]
        blocks += [Heading(kind.capitalize()), _as_it_is(kind, same)]
    return Section("costs", "What a private question costs", "Cost", tuple(blocks))


def setting(row: Row) -> str:
    """What a bench asked, in words; what is usual is left out."""
    parts = [text(row, "preset", "unnamed"), plural(number(row, "owners") or 0, "owner")]
    if (images := number(row, "batch") or 1) != 1:
        parts.append(plural(images, "image"))
    if number(row, "rtt_ms"):
        parts.append(f"servers {text(row, 'rtt_ms')} ms apart")
    if text(row, "pool") == "empty":
        parts.append("nothing prepared")
    return ", ".join(parts)


def _queries(sources: Sequence[Source]) -> Table:
    lines = [
        (
            f"{setting(row)}: {text(row, 'engine', 'unnamed engine')}",
            seconds(number(row, "median_s")),
            seconds(number(row, "online_s")),
            text(row, "rounds", "not measured"),
            size(number(row, "bytes_per_party")),
            size(number(row, "dealer_bytes_per_party")),
            seconds(number(row, "cpu_s")),
            percent(number(row, "agreement"), 2),
        )
        for source in sources
        for row in source.rows
    ]
    titles = ("preset and cohort", "as the client waits", "online", "rounds", "to the other party")
    return Table(
        "A private question: medians. Agreement: answers as the plaintext model gives them.",
        (*titles, "from the dealer", "CPU of all servers", "agreement"),
        tuple(sorted(lines, key=lambda line: line[0].partition(",")[0])),
        evidence([(source, source.rows) for source in sources], _FIELDS),
    )


_FIELDS = (
    *("engine", "preset", "owners", "batch", "queries", "cold_s", "median_s", "p95_s", "wall_s"),
    *("online_s", "rounds", "bytes_per_party", "dealer_bytes_per_party", "offline_cpu_s", "cpu_s"),
    *("agreement", "ties", "differing", "pool", "rtt_ms"),
)


def _as_it_is(kind: str, sources: Sequence[Source]) -> Table:
    """Every figure of every row, under its own name."""
    rows = [row for source in sources for row in source.rows]
    names = [name for name, value in rows[0].items() if not isinstance(value, dict | list)]
    names = names or ["row"]
    lines = tuple(tuple(_cell(row, name) for name in names) for row in rows)
    titles = tuple(plain(name).replace("_", " ") for name in names)
    given = evidence([(source, source.rows) for source in sources])
    return Table(f"As printed by privedge {kind}.", titles, lines, given)


def _cell(row: Row, name: str) -> str:
    value = number(row, name)
    return text(row, name, "-") if value is None else f"{value:.4g}"
