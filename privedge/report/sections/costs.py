"""What the private path costs: what `privedge bench ... --json` printed. Figures only."""

from privedge.report.blocks import Block, Heading, Missing, Paragraph, Section, Table, evidence
from privedge.report.reader import BENCHES, Found, Source
from privedge.report.values import Row, number, percent, plain, seconds, size, text

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
    if not queries:
        blocks.append(Missing("Seconds, rounds and bytes of a private question", QUERY))
    blocks += [_queries(source) for source in queries]
    for source in others:
        blocks += [Heading(source.experiment), _as_it_is(source)]
    return Section("costs", "What a private question costs", "Cost", tuple(blocks))


def _queries(source: Source) -> Table:
    lines = [
        (
            f"{text(row, 'preset')}, {text(row, 'owners')} owners, {text(row, 'engine')}"
            + (f", {text(row, 'batch')} images" if number(row, "batch") not in (None, 1) else "")
            + (f", {text(row, 'rtt_ms')} ms away" if number(row, "rtt_ms") else ""),
            seconds(number(row, "median_s")),
            seconds(number(row, "online_s")),
            text(row, "rounds", "not measured"),
            size(number(row, "bytes_per_party")),
            size(number(row, "dealer_bytes_per_party")),
            seconds(number(row, "cpu_s")),
            percent(number(row, "agreement"), 2),
        )
        for row in source.rows
    ]
    titles = ("preset and cohort", "as the client waits", "online", "rounds", "to the other party")
    return Table(
        f"A private question, medians; {source.shown}. Agreement: answers as the plaintext model "
        "gives them.",
        (*titles, "from the dealer", "CPU of all servers", "agreement"),
        tuple(lines),
        evidence([(source, source.rows)], _FIELDS),
    )


_FIELDS = (
    *("engine", "preset", "owners", "batch", "queries", "cold_s", "median_s", "p95_s", "wall_s"),
    *("online_s", "rounds", "bytes_per_party", "dealer_bytes_per_party", "offline_cpu_s", "cpu_s"),
    *("agreement", "ties", "differing", "pool", "rtt_ms"),
)


def _as_it_is(source: Source) -> Table:
    """Every figure of every row, under its own name."""
    names = [name for name, value in source.rows[0].items() if not isinstance(value, dict | list)]
    lines = tuple(tuple(_cell(row, name) for name in names) for row in source.rows)
    titles = tuple(plain(name).replace("_", " ") for name in names)
    caption = f"As printed by {source.experiment}; {source.shown}."
    return Table(caption, titles, lines, evidence([(source, source.rows)]))


def _cell(row: Row, name: str) -> str:
    value = number(row, name)
    return text(row, name, "-") if value is None else f"{value:.4g}"
