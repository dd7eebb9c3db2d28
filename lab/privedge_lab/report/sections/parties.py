"""What the private path gives away: results of `attack party` and `attack membership`."""

from dataclasses import dataclass

from privedge_lab.report.blocks import Block, Heading, Missing, Paragraph, Section, Table, evidence
from privedge_lab.report.reader import Found, Source
from privedge_lab.report.values import NOT_MEASURED, Row, decibels, number, percent, text

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
    best: Row
    sigmas: float

    @property
    def leaks(self) -> bool:
        """Is it further above guessing than chance can put it?"""
        return self.sigmas > LEAK

    @property
    def whose(self) -> str:
        """The party in words."""
        return "both parties together" if self.party == BOTH else f"party {self.party}"


def views(source: Source) -> list[View]:
    """One for each preset, party and attack, by the reading that did best."""
    best: dict[tuple[str, str, str], View] = {}
    for row in source.rows:
        sigmas = number(row, "sigmas")
        if sigmas is None:
            continue
        view = View(text(row, "preset", "unnamed"), text(row, "party", "unnamed"), row, sigmas)
        key = (view.preset, view.party, text(row, "attack"))
        if key not in best or sigmas > best[key].sigmas:
            best[key] = view
    return list(best.values())


def section(found: Found) -> Section:
    """Tables of both."""
    blocks: list[Block] = []
    parties, members = found.of("party"), found.of("membership")
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
    blocks += [_party(source) for source in parties]
    if members:
        blocks.append(Heading("What answers tell of who was trained on"))
    else:
        blocks.append(Missing("Whether answers tell who was in a training set", MEMBERSHIP))
    blocks += [_membership(source) for source in members]
    return Section("parties", "What the private path gives away", "Private path", tuple(blocks))


def _party(source: Source) -> Table:
    shown = views(source)
    lines = [
        (
            f"{view.preset}, {view.whose}: {text(view.best, 'attack')}",
            f"{text(view.best, 'reading')}, {text(view.best, 'encoding')}",
            *_scores(view.best),
            f"{view.sigmas:+.1f}",
        )
        for view in shown
    ]
    return Table(
        f"{text(source.settings, 'data', 'unnamed data')}: of each attack, the reading that did "
        "best.",
        ("whose view, attack", "best reading", "reached", "guessing", "standard errors above"),
        tuple(lines),
        evidence([(source, [view.best for view in shown])]),
    )


def _scores(row: Row) -> tuple[str, str]:
    if number(row, "accuracy") is not None:
        return percent(number(row, "accuracy")), percent(number(row, "majority"))
    return decibels(number(row, "psnr_db")), decibels(number(row, "mean_image_psnr_db"))


def _membership(source: Source) -> Table:
    lines = [
        (
            f"{text(row, 'preset', 'unnamed')}, {text(row, 'members', '?')} images an owner: "
            f"{text(row, 'attack', 'an attack')}",
            _with_interval(row, "auc"),
            _with_interval(row, "advantage"),
        )
        for row in source.rows
    ]
    return Table(
        "Was an image trained on? Asked of answers alone; guessing has an AUC of 0.5 and no gain.",
        ("model, attack", "AUC", "true minus false positive rate"),
        tuple(lines),
        evidence([(source, source.rows)]),
    )


def _with_interval(row: Row, name: str) -> str:
    value, around = number(row, name), number(row, f"{name}_plus_minus")
    if value is None:
        return NOT_MEASURED
    return f"{value:.3f}" if around is None else f"{value:.3f} ± {around:.3f}"
