"""What a private question cost, wherever that was measured. Figures only."""

from collections.abc import Iterator

from privedge.report import cohorts
from privedge.report.reader import Found
from privedge.report.sections import costs, growth
from privedge.report.values import Row, number, plural, seconds, size, text


def private_costs(found: Found) -> list[str]:
    """Of real deployments first, then of the bench and of growing cohorts."""
    return [*_deployed(found), *_benched(found), *_growing(found)]


def _deployed(found: Found) -> Iterator[str]:
    for source in found.of("identify"):
        row = source.rows[0]
        taken, moved = number(row, "seconds_per_query"), number(row, "bytes_per_query")
        if taken is not None and moved is not None:
            owners = plural(number(row, "owners") or 0, "owner")
            about = f"{cohorts.label(source.settings)}, {owners}"
            yield f"{about}: {seconds(taken)} and {size(moved)} a question"


def _benched(found: Found) -> Iterator[str]:
    """Each preset, cohort and distance once."""
    fused = [
        row
        for source in found.of("bench query")
        for row in source.rows
        if text(row, "engine") == "fused"
    ]
    settings: dict[str, Row] = {}
    for row in fused:
        settings.setdefault(costs.setting(row), row)
    # The usual first: one image, servers side by side, everything prepared.
    for about, row in sorted(settings.items(), key=lambda each: each[0].count(",")):
        yield (
            f"bench, {about}: {seconds(number(row, 'median_s'))}, "
            f"{size(number(row, 'bytes_per_party'))} between the parties"
        )


def _growing(found: Found) -> Iterator[str]:
    for source in found.of("scale"):
        law = growth.fit(source.rows, "private", "online_s")
        if law is not None:
            yield f"{cohorts.label(source.settings)}, online: {law.says(seconds)}"
