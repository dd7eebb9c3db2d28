"""What a private question cost, wherever that was measured. Figures only."""

from collections.abc import Iterator

from privedge_lab.pages.wording import plural, seconds, size
from privedge_lab.report import cohorts
from privedge_lab.report.reader import Found
from privedge_lab.report.sections import costs, growth
from privedge_lab.results.rows.bench import QueryRow
from privedge_lab.results.rows.identify import IdentifyRow
from privedge_lab.results.rows.scale import ScaleRow


def private_costs(found: Found) -> list[str]:
    """Of real models first, then of the made-up ones of the bench."""
    return [*_deployed(found), *_of_most_owners(found), *_growing(found), *_benched(found)]


def _deployed(found: Found) -> Iterator[str]:
    for file in found.of(IdentifyRow):
        row = file.rows[0]
        taken, moved = row.seconds_per_query, row.bytes_per_query
        if taken is not None and moved is not None:
            about = f"{cohorts.label(file.about)}, {plural(row.owners or 0, 'owner')}"
            yield f"{about}: {seconds(taken)} and {size(moved)} a question"


def _of_most_owners(found: Found) -> Iterator[str]:
    """Of each set whose cohort was grown, the largest one that was asked privately."""
    for file in found.of(ScaleRow):
        for owners in reversed(growth.owners_of(file.rows)):
            taken = growth.at(file.rows, owners, growth.seconds_per_query)
            moved = growth.at(file.rows, owners, growth.bytes_per_query)
            if taken is not None and moved is not None:
                about = f"{cohorts.label(file.about)}, {plural(owners, 'owner')}"
                yield f"{about}: {seconds(taken.mean)} and {size(moved.mean)} a question"
                break


def _benched(found: Found) -> Iterator[str]:
    """Each preset, cohort and distance once."""
    fused = [row for file in found.of(QueryRow) for row in file.rows if row.engine == "fused"]
    settings: dict[str, QueryRow] = {}
    for row in fused:
        settings.setdefault(costs.setting(row), row)
    # The usual first: one image, servers side by side, everything prepared.
    for about, row in sorted(settings.items(), key=lambda each: each[0].count(",")):
        yield (
            f"bench, {about}: {seconds(row.median_s)}, "
            f"{size(row.bytes_per_party)} between the parties"
        )


def _growing(found: Found) -> Iterator[str]:
    for file in found.of(ScaleRow):
        law = growth.fit(file.rows, growth.online_s)
        if law is not None:
            yield f"{cohorts.label(file.about)}, online: {law.says(seconds)}"
