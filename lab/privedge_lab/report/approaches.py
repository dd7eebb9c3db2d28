"""Utility, privacy and cost of each way of asking, side by side, and what nobody measured.

Every reading names its data: rows about other images or other tasks are not to be set off against
each other. A cell without a reading says so, with the command that would make one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from privedge_lab.pages.wording import (
    bare,
    decibels,
    in_order,
    percent,
    percents,
    plural,
    spread,
)
from privedge_lab.report import cohorts, leaks
from privedge_lab.report.leaks import NONE, Inferred, Inverted
from privedge_lab.report.prices import private_costs
from privedge_lab.report.reader import Found
from privedge_lab.report.sections import costs, disguising, inversion, owners, parties
from privedge_lab.report.sections.disguising import Disguise
from privedge_lab.results.rows.membership import MembershipRow
from privedge_lab.results.rows.party import PartyRow

_MOST_READINGS = 8
CUT_COST = "privedge split query IMAGE --config FILE.toml --json"
_SEES_ALL = "Whoever runs it has every image in the clear, by construction; nothing to measure."
# Points of accuracy that a defence may cost before it is called too dear, as a share.
AFFORDABLE = 0.02


@dataclass(frozen=True)
class Cell:
    """What is known, or the command that measures it; "" if there is none."""

    readings: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Approach:
    """One row. `anchor`: the section with more."""

    name: str
    what: str
    anchor: str
    utility: Cell
    privacy: Cell
    cost: Cell


def approaches(found: Found) -> list[Approach]:
    """Private prediction, split inference, disguising, and everything in one place."""
    return [_private(found), *_split(found), *_disguised(found), *_pooled(found)]


def _cell(readings: Iterable[str], command: str) -> Cell:
    told = list(readings)
    if len(told) > _MOST_READINGS:
        told = [*told[:_MOST_READINGS], f"and {len(told) - _MOST_READINGS} more below"]
    return Cell(tuple(told), command)


def _private(found: Found) -> Approach:
    return Approach(
        "Private prediction",
        "two parties and a dealer; one model an owner",
        "owners",
        _cell(_private_utility(found), owners.MEASURE),
        _cell([*_party_readings(found), *_membership_readings(found)], parties.PARTY),
        _cell(private_costs(found), costs.QUERY),
    )


def _private_utility(found: Found) -> Iterable[str]:
    for cohort in cohorts.cohorts(found):
        method = cohort.private()
        if method is not None:
            reached = percents(spread(method.recalls.values()))
            yield f"{cohorts.with_owners(cohort)}: {reached} macro recall, {method.name}"
        yield from cohorts.of_strangers(cohort)


def _party_readings(found: Found) -> Iterable[str]:
    for file in found.of(PartyRow):
        alone = [view for view in parties.views(file.rows) if view.party != parties.BOTH]
        if not alone:
            continue
        most = max(view.sigmas for view in alone)
        verdict = "a LEAK" if most > parties.LEAK else "no more than guessing"
        presets = ", ".join(in_order(view.preset for view in alone))
        yield (
            f"{presets}: one party's view attacked in {plural(len(alone), 'way')}, "
            f"{most:.1f} standard errors above guessing at most: {verdict}"
        )


def _membership_readings(found: Found) -> Iterable[str]:
    for file in found.of(MembershipRow):
        reached = [row.auc for row in file.rows if row.auc is not None]
        if reached:
            about = file.about.data or "unnamed data"
            yield (
                f"{about}: answers tell who was trained on with an AUC of {max(reached):.3f} "
                "(guessing: 0.5)"
            )


def _split(found: Found) -> list[Approach]:
    inverted, inferred = leaks.inverted(leaks.attacked(found)), leaks.inferred(found)
    names = in_order([*_defences(inverted), *_defences(inferred)])
    defences = [name for name in names if name != NONE]
    rows = [_with_defence(NONE, inverted, inferred)]
    rows += [_with_defence(name, inverted, inferred) for name in defences]
    if not defences:
        missing = Cell((), inversion.SWEEP)
        rows.append(
            Approach("Split inference with a defence", "", "inversion", missing, missing, missing)
        )
    return rows


def _defences(cases: Sequence[Inverted] | Sequence[Inferred]) -> list[str]:
    return [case.choice.defence for case in cases]


def _with_defence(name: str, inverted: list[Inverted], inferred: list[Inferred]) -> Approach:
    inversions = _chosen(name, inverted)
    inferences = [case for case in inferred if case.choice.defence == name]
    utility = [_left(case, inverted) for case in inversions]
    utility += [
        f"{case.choice.place}, {case.choice.named}: {percents(case.task)} of answers right"
        for case in inferences
        if case.task is not None
    ]
    privacy = [_got(case) for case in inversions] + [_read(case) for case in inferences]
    return Approach(
        "Split inference, no defence" if name == NONE else f"Split inference with {name}",
        "one server computes on activations in the clear",
        "inversion" if inversions or not inferences else "attributes",
        _cell(utility, inversion.TABLE if name == NONE else inversion.SWEEP),
        _cell(privacy, inversion.TABLE if name == NONE else inversion.SWEEP),
        _cell([], CUT_COST),
    )


def _chosen(name: str, cases: list[Inverted]) -> list[Inverted]:
    """Without a defence every cut; with one, of each cut the strength that one would take."""
    mine = [case for case in cases if case.choice.defence == name]
    if name == NONE:
        return leaks.strongest(mine)
    return [chosen for _, chosen, _ in leaks.taken(mine, cases, AFFORDABLE)]


def _left(case: Inverted, cases: list[Inverted]) -> str:
    told = f"{case.choice.place}, {case.choice.named}: {percent(case.accuracy)} of answers right"
    plain = leaks.undefended(case, cases)
    if case.choice.defence == NONE or plain is None:
        return told
    return f"{told} ({percent(plain.accuracy)} without)"


def _got(case: Inverted) -> str:
    guess = "" if case.guess_psnr is None else f" (a guess: {decibels(case.guess_psnr)}"
    if guess:
        guess += f", {case.guess_ssim:.2f})" if case.guess_ssim is not None else ")"
    return (
        f"{case.choice.place}, {case.choice.named}: {case.attack} makes images of "
        f"{decibels(case.psnr)}, SSIM {case.ssim:.2f}{guess}"
    )


def _read(case: Inferred) -> str:
    floor = "" if case.floor is None else f"; from the answer alone {percents(case.floor)}"
    return (
        f"{case.choice.place}, {case.choice.named}: {case.private} read off "
        f"{percents(case.attacker)} (guessing: {percent(case.majority)}{floor})"
    )


def _disguised(found: Found) -> list[Approach]:
    known = disguising.disguises(found)
    if not known:
        missing = Cell((), disguising.MEASURE)
        return [
            Approach("Image disguising", "obfuscation", "disguising", missing, missing, missing)
        ]
    return [_one_disguise(each) for each in known]


def _one_disguise(each: Disguise) -> Approach:
    about = each.file.about.data or "unnamed data"
    utility, privacy = [], []
    if each.accuracy is not None:
        plain = (
            f" ({percent(each.plain_accuracy)} without)" if each.plain_accuracy is not None else ""
        )
        utility.append(f"{about}: {percent(each.accuracy)} of answers right{plain}")
    if each.adaptive is not None:
        privacy.append(
            f"{about}: {percent(each.adaptive)} of disguised images recognised without the key "
            f"(guessing: {percent(each.majority)})"
        )
    row = each.most_pairs
    if row is not None:
        pairs = bare(row.pairs, "some")
        privacy.append(f"{pairs} known pairs give images of {decibels(row.psnr_db)}")
    return Approach(
        f"Image disguising: {each.name}",
        "one server computes on images under a fixed key",
        "disguising",
        _cell(utility, disguising.MEASURE),
        _cell(privacy, disguising.MEASURE),
        _cell([], ""),
    )


def _pooled(found: Found) -> list[Approach]:
    rows = []
    for kind, name in (
        ("cnn", "Plaintext: network on pooled images"),
        ("knn", "Plaintext: nearest neighbour"),
    ):
        told = []
        for cohort in cohorts.cohorts(found):
            method = cohort.baseline(kind)
            if method is not None:
                reached = percents(spread(method.recalls.values()))
                told.append(f"{cohorts.with_owners(cohort)}: {reached} macro recall")
        utility = _cell(told, f"{owners.MEASURE} --baselines {kind}")
        privacy, cost = Cell((_SEES_ALL,), ""), Cell((), "")
        rows.append(
            Approach(name, "everybody's images in one place", "owners", utility, privacy, cost)
        )
    return rows
