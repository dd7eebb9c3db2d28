"""Telling owners apart: results of `evaluate identify`. Figures and names of owners only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from privedge_lab.pages.strips import strips
from privedge_lab.pages.wording import Spread, percent, percents, plural, spread
from privedge_lab.report import cohorts
from privedge_lab.report.blocks import (
    Block,
    Evidence,
    Grid,
    Heading,
    Missing,
    Paragraph,
    Rows,
    Section,
    Table,
    evidence,
)
from privedge_lab.report.cohorts import BASELINES, Cohort, Method
from privedge_lab.report.matrix import Matrix, matrix
from privedge_lab.report.reader import Found, Source
from privedge_lab.results.rows.identify import IdentifyRow, Rate, Voting
from privedge_lab.results.rows.scores import Scores

MEASURE = "privedge evaluate identify --data FILE.npz --seed 0,1,2 --out DIR"
_FIELDS = (
    *("seed", "preset", "owners", "trained_on", "asked", "macro_recall", "macro_precision"),
    *("accuracy", "top3", "auroc_known", "known", "voting", "agreement", "baselines"),
    *("bytes_per_query", "seconds_per_query", "seconds"),
)
_OF_STRANGERS = ("seed", "preset", "tar_at_far_01", "tar_at_far_001", "far_at_margin", "strangers")
_SHOWN_CONFUSIONS = 5


def section(found: Found) -> Section:
    """One table and figure of all sets, then confusions and owners of each."""
    all_of_them = cohorts.cohorts(found)
    blocks: list[Block] = [
        Paragraph(
            "Every class of a labelled set is an owner, who trains a model on the own images "
            "alone. Images that nobody trained on are then asked. Macro recall is the share found, "
            "as a mean over owners; the baselines answer the very same images."
        )
    ]
    if not all_of_them:
        blocks.append(Missing("How well owners are told apart", MEASURE))
    else:
        blocks += _overview(all_of_them)
        blocks += _in_detail(all_of_them)
    return Section("owners", "Telling owners apart", "Owners", tuple(blocks))


def _overview(all_of_them: list[Cohort]) -> list[Block]:
    kinds = ["private", *BASELINES]
    labels = ["private models", *BASELINES.values()]
    rows = [
        (cohorts.with_owners(cohort), [_recall(cohort, kind) for kind in kinds])
        for cohort in all_of_them
    ]
    given = evidence(_used(all_of_them), ("seed", "preset", "macro_recall", "baselines"))
    lines = [line for cohort in all_of_them for line in _lines(cohort)]
    titles = (
        *("set and method", "macro recall", "macro precision", "accuracy", "top 3"),
        *("known or not, AUROC", "as in float"),
    )
    caption = (
        "Means over seeds, in brackets the least and the greatest. “Known or not”: half of the "
        "owners registered, the others strangers. “As in float”: answers equal to those of the "
        "same models in float32."
    )
    return [
        Rows(
            "Who finds the owner, and with whose images",
            "Macro recall on the same images. Only the private models and the components of pixels "
            "keep every owner's images with the owner; the others pool all images in one place.",
            strips(labels, rows),
            given,
        ),
        Table(caption, titles, tuple(lines), evidence(_used(all_of_them), _FIELDS)),
        *_strangers(all_of_them),
    ]


def _strangers(all_of_them: list[Cohort]) -> list[Block]:
    """How owners and strangers are told apart, where it was measured."""
    lines = []
    for cohort in all_of_them:
        if (told := cohorts.told_apart(cohort)) is None:
            continue
        method, found = told
        lines.append(
            (
                f"{cohorts.with_owners(cohort)}, {method.name}",
                f"{cohorts.mean(each.strangers for each in found):.0f}",
                _rated([each.tar_at_far_01 for each in found]),
                _rated([each.tar_at_far_001 for each in found]),
                _rated([each.far_at_margin for each in found], not_there="no margin given"),
            )
        )
    if not lines:
        return []
    caption = (
        "TAR: the share of owners' images that is named right. FAR: the share of strangers' images "
        "that is named. In brackets the 95 % interval of the measured images (Wilson), as a mean "
        "over seeds; several images of one person are not independent."
    )
    titles = ("set", "strangers' images", "TAR at FAR 1 %", "TAR at FAR 0.1 %", "FAR at a margin")
    return [Table(caption, titles, tuple(lines), evidence(_used(all_of_them), _OF_STRANGERS))]


def _rated(rates: Sequence[Rate | None], not_there: str = "too few strangers to tell") -> str:
    rate = cohorts.mean_rate(rates)
    return not_there if rate is None else f"{cohorts.in_words(rate)} at {rate.margin or 0.0:.2f}"


def _recall(cohort: Cohort, kind: str) -> Spread | None:
    method = cohort.private() if kind == "private" else cohort.baseline(kind)
    return None if method is None else spread(method.recalls.values())


def _used(all_of_them: Iterable[Cohort]) -> list[tuple[Source, Sequence[IdentifyRow]]]:
    """Each file once, with all its rows."""
    files = {
        file.shown: file
        for cohort in all_of_them
        for method in cohort.methods.values()
        for file, _ in method.given
    }
    return [(file.source, file.rows) for file in files.values()]


def _lines(cohort: Cohort) -> list[tuple[str, ...]]:
    lines = []
    for method in cohort.methods.values():
        name = f"{cohorts.with_owners(cohort)}: {method.name}"
        figures = _figures(cohorts.scores(method))
        if method.kind != "private":
            lines.append((name, *figures, "", "", ""))
            continue
        auroc = spread(row.auroc_known for row in method.rows)
        agreed = (row.agreement for row in method.rows)
        same = spread(each.fixed_plain for each in agreed if each is not None)
        lines.append(
            (
                *(name, *figures, percents(spread(row.top3 for row in method.rows))),
                "not measured" if auroc is None else f"{auroc.mean:.3f}",
                percent(None if same is None else same.mean, 2),
            )
        )
        lines += _voted(name, method)
    return lines


def _figures(given: Iterable[IdentifyRow | Scores | Voting]) -> list[str]:
    given = list(given)
    return [
        percents(spread(each.macro_recall for each in given)),
        percents(spread(each.macro_precision for each in given)),
        percents(spread(each.accuracy for each in given)),
    ]


def _voted(name: str, method: Method) -> list[tuple[str, ...]]:
    voted = [row.voting for row in method.rows if row.voting is not None]
    if all(each.macro_recall is None for each in voted):
        return []
    words = method.file.about.words or "several"
    return [(f"{name}, voting over {words} images of a page", *_figures(voted), "", "", "")]


@dataclass(frozen=True)
class _OfOwner:
    """Sums over seeds."""

    name: str
    asked: float
    right: float
    answered: float

    @property
    def recall(self) -> float:
        return self.right / self.asked if self.asked else 0.0


def _in_detail(all_of_them: list[Cohort]) -> list[Block]:
    """Of the private models: who is taken for whom, and every owner."""
    blocks: list[Block] = []
    folded: list[Block] = []
    for cohort in all_of_them:
        method = cohort.private()
        if method is None:
            continue
        rows = [row for row in method.rows if _owners(row) == _owners(method.rows[0])]
        title = f"{cohorts.with_owners(cohort)}, {method.name}"
        found = matrix(_owners(rows[0]), rows)
        if found is not None:
            given = evidence(method.used(rows), ("seed", "preset", "asked", "confusion"))
            blocks.append(_confusions(title, found, given))
        owners = _by_owner(method.rows)
        if owners:
            shown = evidence(method.used(method.rows), _PER_OWNER)
            folded.append(_owner_table(title, owners, shown))
    if blocks:
        blocks.insert(0, Heading("Who is taken for whom"))
    if folded:
        blocks += [Heading("Owner by owner"), *folded]
    return blocks


_PER_OWNER = ("seed", "preset", "asked", "per_owner")


def _owners(row: IdentifyRow) -> list[str]:
    return [each.owner or "unnamed" for each in row.per_owner]


def _confusions(title: str, found: Matrix, given: Evidence) -> Block:
    said = "; ".join(
        f"{found.named(cell.row)} taken for {found.named(cell.column)} "
        f"{plural(cell.count, 'time')} ({percent(cell.share, 0)})"
        for cell in found.confusions[:_SHOWN_CONFUSIONS]
    )
    says = f"Most frequent confusions: {said}." if said else "No image was given to a wrong owner."
    if not found.drawable:
        return Paragraph(f"{title}. {says}")
    caption = (
        "Rows: whose the images are; columns: what was answered, the last for nobody; the "
        f"stronger the colour, the larger the share of the row. {says}"
    )
    return Grid(title, caption, found, says, given)


def _by_owner(rows: Iterable[IdentifyRow]) -> list[_OfOwner]:
    """Hardest first."""
    sums: dict[str, list[float]] = {}
    for each in (each for row in rows for each in row.per_owner):
        asked, recall, answered = each.asked or 0.0, each.recall or 0.0, each.answered or 0.0
        total = sums.setdefault(each.owner or "unnamed", [0.0, 0.0, 0.0])
        for at, value in enumerate((asked, asked * recall, answered)):
            total[at] += value
    found = [_OfOwner(name, *total) for name, total in sums.items() if total[0] > 0]
    return sorted(found, key=lambda owner: (owner.recall, owner.name))


def _owner_table(title: str, owners: list[_OfOwner], given: Evidence) -> Table:
    rows = [
        (
            owner.name,
            percent(owner.recall),
            percent(owner.right / owner.answered if owner.answered else 0.0),
            f"{owner.asked:.0f}",
            f"{owner.answered:.0f}",
        )
        for owner in owners
    ]
    return Table(
        f"{title}: each owner, hardest first; images of all seeds together.",
        ("owner", "recall", "precision", "images asked", "images given to it"),
        tuple(rows),
        given,
        folded=f"{title}, hardest first",
    )
