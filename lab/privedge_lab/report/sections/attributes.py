"""Attributes read off split inference: `attack attributes`, `partitioning`, `split sweep`."""

from privedge_lab.pages.wording import percent, percents
from privedge_lab.report.blocks import Block, Missing, Paragraph, Section, Table, evidence
from privedge_lab.report.leaks import Inferred, inferred
from privedge_lab.report.reader import Found, Source

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


_FIELDS = (
    *("seed", "preset", "cut", "defence", "strength", "private", "accuracy", "attacker_accuracy"),
    *("majority", "floor_accuracy", "task_accuracy", "images"),
)
