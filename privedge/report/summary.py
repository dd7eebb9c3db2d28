"""The answer in plain words, made of the data: what privacy costs, what it buys.

No sentence here has a figure of its own, and none is written without one: what the results do not
hold is said to be not measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from privedge.report import cohorts, leaks
from privedge.report.approaches import AFFORDABLE
from privedge.report.cohorts import Cohort
from privedge.report.leaks import NONE, Inverted
from privedge.report.prices import private_costs
from privedge.report.reader import Found
from privedge.report.sections import costs, disguising, inversion, owners, parties
from privedge.report.values import (
    decibels,
    in_order,
    listed,
    number,
    percent,
    plural,
    points,
    spread,
)

_MOST_LINES = 8


@dataclass(frozen=True)
class Answer:
    """A question, what is known (each a sentence), and what would measure it."""

    question: str
    lines: tuple[str, ...]
    command: str
    anchor: str


def answers(found: Found) -> list[Answer]:
    """What an operator asks."""
    return [
        Answer(
            "What does privacy cost in accuracy?",
            tuple(_accuracy(found)[:_MOST_LINES]),
            f"{owners.MEASURE} --baselines cnn,knn",
            "owners",
        ),
        Answer(
            "Are private answers those of the plain model?",
            tuple(_agreement(found)),
            f"{owners.MEASURE} --engine fused",
            "owners",
        ),
        Answer(
            "What does it cost in time and traffic?",
            tuple(private_costs(found)[:_MOST_LINES]),
            costs.QUERY,
            "costs",
        ),
        Answer("What does one curious party get?", tuple(_party(found)), parties.PARTY, "parties"),
        Answer(
            "What would a server get without it?",
            tuple(_without(found)[:_MOST_LINES]),
            inversion.TABLE,
            "inversion",
        ),
        Answer(
            "Would a defence or a disguise do instead?",
            tuple(_instead(found)[:_MOST_LINES]),
            inversion.SWEEP,
            "disguising",
        ),
    ]


def lead(found: Found) -> list[str]:
    """The same in a few sentences; the first says what is not measured, if that is most of it."""
    told = [*_lead_cost(found), *_lead_price(found), *_lead_buys(found)]
    open_questions = [answer.question for answer in answers(found) if not answer.lines]
    if open_questions:
        questions = listed([f"“{question}”" for question in open_questions])
        told.append(f"These results do not answer {questions}.")
    return told


def _lead_cost(found: Found) -> list[str]:
    gaps = [(cohort, means[1] - means[0]) for cohort, means in _gaps(found, "cnn")]
    if not gaps:
        return []
    dearest = max(gaps, key=lambda pair: pair[1])
    cheapest = min(gaps, key=lambda pair: pair[1])
    sets = plural(len(gaps), "set")
    if len(gaps) == 1:
        return [f"Privacy {_costs(dearest[1])} in accuracy on {dearest[0].label}."]
    return [
        "In accuracy, against a network that sees everybody's images, privacy "
        f"{_costs(cheapest[1])} at best ({cheapest[0].label}) and {_costs(dearest[1])} at worst "
        f"({dearest[0].label}), over {sets} of images."
    ]


def _costs(gap: float) -> str:
    if abs(gap) < 0.0005:
        return "cost nothing"
    return f"cost {points(gap)}" if gap > 0 else f"cost nothing (it is {points(gap)} better)"


def _lead_price(found: Found) -> list[str]:
    return [f"In time and traffic, {first}." for first in private_costs(found)[:1]]


def _lead_buys(found: Found) -> list[str]:
    told = []
    views = [view for source in found.of("party") for view in parties.views(source)]
    alone = [view for view in views if view.party != parties.BOTH]
    if alone:
        most = max(view.sigmas for view in alone)
        told.append(
            f"It LEAKED: one party's view was worth {most:.1f} standard errors more than guessing."
            if most > parties.LEAK
            else "For that, one curious party's view of a question was worth no more than guessing."
        )
    plain = [case for case in leaks.inverted(found) if case.choice.defence == NONE]
    if plain:
        worst = max(plain, key=lambda case: case.ssim)
        told.append(
            f"Without private computation, a server made images of {decibels(worst.psnr)} out of "
            f"what it gets ({worst.choice.place}{_guess(worst)})."
        )
    return told


def _guess(case: Inverted) -> str:
    return "" if case.guess_psnr is None else f"; a guess has {decibels(case.guess_psnr)}"


def _gaps(found: Found, kind: str) -> list[tuple[Cohort, tuple[float, float, list[int]]]]:
    pairs = []
    for cohort in cohorts.cohorts(found):
        private, other = cohort.private(), cohort.baseline(kind)
        means = cohorts.gap(private, other) if private and other else None
        if means is not None:
            pairs.append((cohort, means))
    return pairs


def _accuracy(found: Found) -> list[str]:
    told = []
    for kind, name in (("cnn", "a network on pooled images"), ("knn", "pooled nearest neighbours")):
        for cohort, (mine, other, seeds) in _gaps(found, kind):
            on = f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds])}"
            best = f", the best of {cohort.presets} presets here" if cohort.presets > 1 else ""
            told.append(
                f"{cohorts.with_owners(cohort)}: private {percent(mine)} macro recall{best}, "
                f"{name} {percent(other)} ({on}): privacy {_costs(other - mine)}"
            )
    return told


def _agreement(found: Found) -> list[str]:
    told = []
    for source in found.of("identify"):
        same = spread(number(row, "agreement", "fused_fixed") for row in source.rows)
        asked = sum(number(row, "agreement", "queries") or 0 for row in source.rows)
        if same is not None:
            told.append(
                f"{cohorts.label(source.settings)}: {percent(same.mean, 2)} of {asked:.0f} answers "
                "of a real deployment are those of the fixed-point model in the clear"
            )
    floats = [
        share
        for source in found.of("identify")
        for row in source.rows
        if (share := number(row, "agreement", "fixed_plain")) is not None
    ]
    if floats:
        told.append(
            f"fixed point gives the answers of float32 in at least {percent(min(floats), 2)}"
        )
    return told


def _party(found: Found) -> list[str]:
    told = []
    for source in found.of("party"):
        views = parties.views(source)
        for whose in ("one party alone", "both together, which must not happen"):
            mine = [v for v in views if (v.party == parties.BOTH) == whose.startswith("both")]
            if mine:
                most = max(mine, key=lambda view: view.sigmas)
                verdict = "a leak" if most.leaks else "no more than guessing"
                told.append(
                    f"{_presets(mine)}, {whose}: {most.sigmas:.1f} standard errors above guessing "
                    "at most, over "
                    f"{plural(len(mine), 'attack')}: {verdict}"
                )
    return told


def _presets(views: Sequence[parties.View]) -> str:
    return listed(in_order(view.preset for view in views))


def _without(found: Found) -> list[str]:
    told = [
        f"{case.choice.place}: images of {decibels(case.psnr)}, SSIM {case.ssim:.2f}{_guess(case)}"
        for case in leaks.strongest(leaks.inverted(found))
        if case.choice.defence == NONE
    ]
    told += [
        f"{case.choice.place}: {case.private} read off {percent(case.attacker.mean)} "
        f"(guessing: {percent(case.majority)})"
        for case in leaks.inferred(found)
        if case.choice.defence == NONE
    ]
    return told


def _instead(found: Found) -> list[str]:
    cases = leaks.inverted(found)
    defended = [case for case in cases if case.choice.defence != NONE]
    told = [_defended(*each) for each in leaks.taken(defended, cases, AFFORDABLE)]
    told += [
        f"{each.name}: {percent(each.adaptive)} of disguised images are recognised without the key "
        f"(guessing: {percent(each.majority)})"
        for each in disguising.disguises(found)
        if each.adaptive is not None
    ]
    return told


def _defended(plain: Inverted | None, best: Inverted, cheap: bool) -> str:
    before = "" if plain is None else f" ({decibels(plain.psnr)} without)"
    told = (
        f"{best.choice.named} after {best.choice.cut} ({best.choice.data}) leaves images of "
        f"{decibels(best.psnr)}{before}"
    )
    if cheap:
        return f"{told} and costs at most {points(AFFORDABLE)} of accuracy"
    return f"{told}, and none of its strengths costs less than {points(AFFORDABLE)} of accuracy"
