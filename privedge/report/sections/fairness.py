"""A model that reconstructs everything: results of `evaluate fairness`. Figures only."""

from privedge.report.blocks import Block, Missing, Paragraph, Section, Table, evidence
from privedge.report.cohorts import label
from privedge.report.reader import Found, Source
from privedge.report.values import NOT_MEASURED, Row, number, percents, spread, text

MEASURE = "privedge evaluate fairness --data FILE.npz --seed 0,1,2 --out DIR"


def section(found: Found) -> Section:
    """What a thief's model wins, with and without calibration."""
    sources = found.of("fairness")
    blocks: list[Block] = []
    if sources:
        blocks.append(
            Paragraph(
                "The smallest error wins, so an owner who uploads a model that reconstructs "
                "everything would win other owners' questions. The steal rate is the share of "
                "questions about others that such a thief wins."
            )
        )
    else:
        blocks.append(Missing("Whether a greedy model wins other owners' questions", MEASURE))
    blocks += [_table(source) for source in sources]
    return Section("fairness", "Owners who take more than theirs", "Fairness", tuple(blocks))


def _table(source: Source) -> Table:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in source.rows:
        key = (
            text(row, "thief", "none"),
            text(row, "components"),
            text(row, "calibration", "none"),
        )
        groups.setdefault(key, []).append(row)
    return Table(
        f"Thieves and calibrations, {label(source.settings)}. Means over seeds. Most won: of all "
        "owners, the most answers given to one over the questions that were about that one.",
        (
            "thief",
            "components",
            "calibration",
            "steal rate",
            "macro recall",
            "most won",
            "refused by the audit",
        ),
        tuple(_line(key, rows) for key, rows in groups.items()),
        evidence([(source, source.rows)]),
    )


def _line(key: tuple[str, ...], rows: list[Row]) -> tuple[str, ...]:
    won = spread(number(row, "win_rates", "most_won_over_asked") for row in rows)
    audits = [row["audit_refused"] for row in rows if isinstance(row.get("audit_refused"), bool)]
    stolen = spread(number(row, "steal_rate") for row in rows)
    return (
        *key,
        percents(stolen) if key[0] != "none" else "no thief",
        percents(spread(number(row, "macro_recall") for row in rows)),
        NOT_MEASURED if won is None else f"{won.mean:.2f}",
        f"{sum(audits)} of {len(audits)}" if audits else NOT_MEASURED,
    )
