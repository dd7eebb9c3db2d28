"""What the private path gives away: results of `attack party`, `attack membership` and
`attack extraction`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from privedge_lab.pages.wording import NOT_MEASURED, bare, decibels, percent
from privedge_lab.report.blocks import Block, Heading, Missing, Paragraph, Section, Table, evidence
from privedge_lab.report.reader import File, Found
from privedge_lab.results.rows.extraction import ExtractionRow
from privedge_lab.results.rows.membership import MembershipRow
from privedge_lab.results.rows.party import PartyRow
from privedge_lab.results.rows.values import Figure

PARTY = "privedge attack party --data FILE.npz --preset subspace32 --out FILE.json"
MEMBERSHIP = "privedge attack membership --data FILE.npz --out FILE.json"
# privedge_lab.evaluation.party_view: more standard errors above guessing than this are a leak.
LEAK = 5.0
BOTH = "both"


@dataclass(frozen=True)
class View:
    """The attacks on what one party recorded: of all rows, the furthest above guessing."""

    preset: str
    party: str
    best: PartyRow
    sigmas: float

    @property
    def leaks(self) -> bool:
        """Is it further above guessing than chance can put it?"""
        return self.sigmas > LEAK

    @property
    def whose(self) -> str:
        """The party in words."""
        return "both parties together" if self.party == BOTH else f"party {self.party}"


def views(rows: Iterable[PartyRow]) -> list[View]:
    """One for each preset, party and attack, by the reading that did best."""
    best: dict[tuple[str, str, str], View] = {}
    for row in rows:
        if row.sigmas is None:
            continue
        # Rows without a dealer say so.
        name = ", ".join(filter(None, (row.preset or "unnamed", row.randomness)))
        view = View(name, row.party or "unnamed", row, row.sigmas)
        key = (view.preset, view.party, row.attack or "")
        if key not in best or view.sigmas > best[key].sigmas:
            best[key] = view
    return list(best.values())


def section(found: Found) -> Section:
    """Tables of both."""
    blocks: list[Block] = []
    parties, members = found.of(PartyRow), found.of(MembershipRow)
    if parties:
        blocks += [
            Heading("What one party sees of a question"),
            Paragraph(
                "A curious party records everything that it holds and sees, asks questions of its "
                "own to learn from, and is then turned on others. The distance from guessing is in "
                f"standard errors; more than {LEAK:.0f} would be a leak. The rows of both parties "
                "together show that the attacks work once the parties collude."
            ),
        ]
    else:
        blocks.append(Missing("What one party's view of a private question is worth", PARTY))
    blocks += [_party(file) for file in parties]
    if members:
        blocks.append(Heading("What answers tell of who was trained on"))
    else:
        blocks.append(Missing("Whether answers tell who was in a training set", MEMBERSHIP))
    blocks += [_membership(file) for file in members]
    if copies := found.of(ExtractionRow):
        blocks.append(Heading("How many answers copy the models"))
    blocks += [_extraction(file) for file in copies]
    return Section("parties", "What the private path gives away", "Private path", tuple(blocks))


def _party(file: File[PartyRow]) -> Table:
    shown = views(file.rows)
    lines = [
        (
            f"{view.preset}, {view.whose}: {view.best.attack or ''}",
            f"{view.best.reading or ''}, {view.best.encoding or ''}",
            *_scores(view.best),
            f"{view.sigmas:+.1f}",
        )
        for view in shown
    ]
    return Table(
        f"{file.about.data or 'unnamed data'}: of each attack, the reading that did best.",
        ("whose view, attack", "best reading", "reached", "guessing", "standard errors above"),
        tuple(lines),
        evidence([(file.source, [view.best for view in shown])]),
    )


def _scores(row: PartyRow) -> tuple[str, str]:
    if row.accuracy is not None:
        return percent(row.accuracy), percent(row.majority)
    return decibels(row.psnr_db), decibels(row.mean_image_psnr_db)


def _membership(file: File[MembershipRow]) -> Table:
    lines = [
        (
            f"{row.preset or 'unnamed'}, {bare(row.members, '?')} images an owner: "
            f"{row.attack or 'an attack'}",
            _with_interval(row.auc, row.auc_plus_minus),
            _with_interval(row.advantage, row.advantage_plus_minus),
        )
        for row in file.rows
    ]
    return Table(
        "Was an image trained on? Asked of answers alone; guessing has an AUC of 0.5 and no gain.",
        ("model, attack", "AUC", "true minus false positive rate"),
        tuple(lines),
        evidence([(file.source, file.rows)]),
    )


def _extraction(file: File[ExtractionRow]) -> Table:
    lines = [
        (
            f"{row.preset or 'unnamed'}, {bare(row.components, '?')} components: "
            f"{row.service or 'a service'}, budget {row.budget or 'unnamed'}",
            bare(row.labels, NOT_MEASURED),
            percent(row.agreement),
            bare(row.budget_days, NOT_MEASURED),
        )
        for row in file.rows
    ]
    return Table(
        "How often a copy that was made from labels alone answers like the service.",
        ("model, service", "labels", "agreement", "days under the safe budget"),
        tuple(lines),
        evidence([(file.source, file.rows)]),
    )


def _with_interval(value: Figure, around: Figure) -> str:
    if value is None:
        return NOT_MEASURED
    return f"{value:.3f}" if around is None else f"{value:.3f} ± {around:.3f}"
