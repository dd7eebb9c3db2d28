"""Experiments that this page knows nothing of, as they are stored."""

from privedge_lab.report.blocks import Block, Paragraph, Section, Table, evidence, origin
from privedge_lab.report.pictures import Album
from privedge_lab.report.reader import Found, Source
from privedge_lab.report.sections.inversion import sheet
from privedge_lab.results.registry import EXPERIMENTS


def section(found: Found, album: Album) -> Section | None:
    """None if there is nothing else."""
    blocks: list[Block] = []
    for source in found.sources:
        known = EXPERIMENTS.get(source.experiment)
        if known is None:
            blocks.append(_listed(source))
        # Others show their pictures in their own sections.
        if known is None or not known.pictured:
            blocks += [
                sheet(
                    source, inline, f"{inline.name}, beside {source.shown}", "As it was found.", []
                )
                for inline in album.of(source)
            ]
    if not blocks:
        return None
    lead = Paragraph("Not known to this page, and shown as they are.")
    return Section("others", "Other results", "Other results", (lead, *blocks))


def _listed(source: Source) -> Table:
    came = origin(source)
    rows = (
        ("experiment", source.experiment),
        ("rows", str(len(source.rows))),
        ("seeds", came.seeds or "not stored"),
    )
    given = evidence([(source, source.typed)])
    return Table(f"{source.experiment}, from {source.shown}", ("what", "value"), rows, given)
