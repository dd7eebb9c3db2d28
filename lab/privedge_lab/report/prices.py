"""What a private question cost, wherever that was measured. Figures only."""

from collections.abc import Iterator

from privedge_lab.report import cohorts
from privedge_lab.report.reader import Found
from privedge_lab.report.sections import costs, growth
from privedge_lab.report.values import Row, number, plural, seconds, size, text


def private_costs(found: Found) -> list[str]:
    """Of real models first, then of the made-up ones of the bench."""
    return [*_deployed(found), *_of_most_owners(found), *_growing(found), *_benched(found)]


def _deployed(found: Found) -> Iterator[str]:
    for source in found.of("identify"):
        row = source.rows[0]
        taken, moved = number(row, "seconds_per_query"), number(row, "bytes_per_query")
        if taken is not None and moved is not None:
            owners = plural(number(row, "owners") or 0, "owner")
            about = f"{cohorts.label(source.settings)}, {owners}"
            yield f"{about}: {seconds(taken)} and {size(moved)} a question"


def _of_most_owners(found: Found) -> Iterator[str]:
    """Of each set whose cohort was grown, the largest one that was asked privately."""
    for source in found.of("scale"):
        for owners in reversed(growth.owners_of(source.rows)):
            taken = growth.at(source.rows, owners, "private", "seconds_per_query")
            moved = growth.at(source.rows, owners, "private", "bytes_per_query")
            if taken is not None and moved is not None:
                about = f"{cohorts.label(source.settings)}, {plural(owners, 'owner')}"
                yield f"{about}: {seconds(taken.mean)} and {size(moved.mean)} a question"
                break


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
