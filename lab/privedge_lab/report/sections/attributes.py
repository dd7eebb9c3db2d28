"""Attributes read off split inference: `attack attributes`, `partitioning`, `split sweep`."""

from privedge_lab.pages.wording import decibels, percent, percents, spread
from privedge_lab.report.blocks import Block, Missing, Paragraph, Section, Table, evidence
from privedge_lab.report.leaks import Inferred, inferred
from privedge_lab.report.reader import Found, Source
from privedge_lab.results.rows.partitioning import PartitioningRow
from privedge_lab.results.rows.values import shown

MEASURE = "privedge attack attributes --data FILE.npz --private FACT --out FILE.json"
PARTITIONING = "privedge attack partitioning --data FILE.npz --out FILE.json"


def section(found: Found) -> Section:
    """One table a file."""
    cases = inferred(found)
    blocks: list[Block] = []
    if cases:
        blocks.append(
            Paragraph(
                "Fresh attackers read an attribute that the task has no use for off what crosses "
                "the cut. The majority is what guessing reaches; the floor what the same attackers "
                "reach with the network's answer alone, which no defence of the cut can help."
            )
        )
    else:
        blocks.append(Missing("Whether a private attribute can be read off", MEASURE))
    for source in dict.fromkeys(case.source.shown for case in cases):
        mine = [case for case in cases if case.source.shown == source]
        blocks.append(_table(mine[0].source, mine))
        reconstructed = [case for case in mine if _partitioned(case)]
        if reconstructed:
            blocks.append(_reconstructed(mine[0].source, reconstructed))
    return Section("attributes", "Attributes read off split inference", "Attributes", tuple(blocks))


def _table(source: Source, cases: list[Inferred]) -> Table:
    part = " on VALIDATION images" if source.about.part == "validation" else ""
    lines = [
        (
            f"{case.choice.network} cut after {case.choice.cut}, {case.choice.named}",
            percents(case.attacker),
            percent(case.majority),
            percents(case.floor),
            percents(case.task),
        )
        for case in cases
    ]
    return Table(
        f"{cases[0].private.capitalize()} read off{part}, {cases[0].choice.data}. Means over "
        "seeds, in brackets the least and the greatest.",
        ("network and defence", "attacker", "majority", "floor", "accuracy of the task"),
        tuple(lines),
        evidence([(source, [row for case in cases for row in case.rows])], _FIELDS),
    )


def _partitioned(case: Inferred) -> list[PartitioningRow]:
    """The rows that tell what was reconstructed too."""
    rows = [row for row in case.rows if isinstance(row, PartitioningRow)]
    return [row for row in rows if row.psnr_db is not None]


def _reconstructed(source: Source, cases: list[Inferred]) -> Table:
    lines = []
    for case in cases:
        rows = _partitioned(case)
        psnr, ssim = spread(row.psnr_db for row in rows), spread(row.ssim for row in rows)
        mean = spread(row.mean_image_psnr_db for row in rows)
        lines.append(
            (
                case.choice.named,
                decibels(psnr.mean if psnr else None, None),
                shown(ssim.mean if ssim else None, ".3f"),
                decibels(mean.mean if mean else None, None),
                " ".join(f"{points:.1f}" for points in _above(rows)),
            )
        )
    return Table(
        "The same cut under attackers who reconstruct, means over seeds; how far those who guess "
        "come above the majority is told in points, each seed, from the least to the greatest.",
        ("defence", "PSNR", "SSIM", "PSNR of the mean image", "above majority, each seed"),
        tuple(lines),
        evidence([(source, [row for case in cases for row in case.rows])], _FIELDS),
    )


def _above(rows: list[PartitioningRow]) -> list[float]:
    pairs = [(row.attacker_accuracy, row.majority) for row in rows]
    return sorted(
        100 * (guessed - majority)
        for guessed, majority in pairs
        if guessed is not None and majority is not None
    )


_FIELDS = (
    *("seed", "preset", "cut", "defence", "strength", "private", "accuracy", "attacker_accuracy"),
    *("majority", "floor_accuracy", "task_accuracy", "images", "psnr_db", "ssim"),
)
