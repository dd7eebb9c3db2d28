"""The answer in plain words, made of the data: what privacy costs, what it buys.

No sentence here has a figure of its own, and none is written without one: what the results do not
hold is said to be not measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from privedge_lab.pages.wording import decibels, listed, plural
from privedge_lab.report import findings, leaks
from privedge_lab.report.leaks import NONE
from privedge_lab.report.prices import private_costs
from privedge_lab.report.reader import Found
from privedge_lab.report.sections import (
    conditions,
    costs,
    fairness,
    growth,
    inversion,
    owners,
    parties,
)
from privedge_lab.results.rows.party import PartyRow

_MOST_LINES = 8


@dataclass(frozen=True)
class Finding:
    """A question, what is known (each a sentence), and what would measure it."""

    question: str
    lines: tuple[str, ...]
    command: str
    anchor: str


def answers(found: Found) -> list[Finding]:
    """What an operator asks."""
    return [
        Finding(
            "What does privacy cost in accuracy?",
            tuple(findings.accuracy(found)[:_MOST_LINES]),
            f"{owners.MEASURE} --baselines cnn,knn",
            "owners",
        ),
        Finding(
            "Are private answers those of the plain model?",
            tuple(findings.agreement(found)),
            f"{owners.MEASURE} --engine fused",
            "owners",
        ),
        Finding(
            "Are strangers told apart?",
            tuple(findings.strangers(found)[:_MOST_LINES]),
            f"{owners.MEASURE} --strangers OTHERS.npz --margin 0.7",
            "owners",
        ),
        Finding(
            "What does it cost in time and traffic?",
            tuple(private_costs(found)[:_MOST_LINES]),
            costs.QUERY,
            "costs",
        ),
        Finding(
            "What does one curious party get?",
            tuple(findings.one_party(found)),
            parties.PARTY,
            "parties",
        ),
        Finding(
            "What would a server get without it?",
            tuple(findings.without(found)[:_MOST_LINES]),
            inversion.TABLE,
            "inversion",
        ),
        Finding(
            "Would a defence or a disguise do instead?",
            tuple(findings.instead(found)[:_MOST_LINES]),
            inversion.SWEEP,
            "disguising",
        ),
        Finding(
            "Does it stand worse images?",
            tuple(findings.disturbed(found)[:_MOST_LINES]),
            conditions.ROBUSTNESS,
            "conditions",
        ),
        Finding(
            "Does it stand more owners?", tuple(findings.grown(found)), growth.MEASURE, "scale"
        ),
        Finding(
            "Can an owner take other owners' questions?",
            tuple(findings.taken(found)),
            fairness.MEASURE,
            "fairness",
        ),
    ]


def lead(found: Found, known: Sequence[Finding]) -> list[str]:
    """The same in a few sentences; the last says which of the `known` answers say nothing."""
    told = [*_lead_cost(found), *_lead_price(found), *_lead_buys(found)]
    open_questions = [answer.question for answer in known if not answer.lines]
    if open_questions:
        questions = listed([f"“{question}”" for question in open_questions])
        told.append(f"These results do not answer {questions}.")
    return told


def _lead_cost(found: Found) -> list[str]:
    prices = [
        (other - private, cohort.label)
        for cohort, (private, other, _) in findings.gaps(found, "cnn")
    ]
    if not prices:
        return []
    (least, best), (most, worst) = min(prices), max(prices)
    if len(prices) == 1:
        return [f"Privacy {findings.price(most)} in accuracy on {worst}."]
    return [
        f"In accuracy, over {plural(len(prices), 'set')} of images, private models are from "
        f"{findings.standing(least)} ({best}) to {findings.standing(most)} ({worst}) than a "
        f"network that sees everybody's images."
    ]


def _lead_price(found: Found) -> list[str]:
    return [f"In time and traffic, {first}." for first in private_costs(found)[:1]]


def _lead_buys(found: Found) -> list[str]:
    told = []
    views = [view for file in found.of(PartyRow) for view in parties.views(file.rows)]
    alone = [view for view in views if view.party != parties.BOTH]
    if alone:
        most = max(view.sigmas for view in alone)
        told.append(
            f"It LEAKED: one party's view was worth {most:.1f} standard errors more than guessing."
            if most > parties.LEAK
            else "For that, one curious party's view of a question was worth no more than guessing."
        )
    cases = leaks.inverted(leaks.attacked(found))
    plain = [case for case in cases if case.choice.defence == NONE]
    if plain:
        worst = max(plain, key=lambda case: case.ssim)
        told.append(
            f"Without private computation, a server made images of {decibels(worst.psnr)} out of "
            f"what it gets ({worst.choice.place}{findings.guess(worst)})."
        )
    return told
