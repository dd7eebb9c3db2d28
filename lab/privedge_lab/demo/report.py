"""Summarise an outcome in figures and in words: for the terminal, the page and machines.

Sees answers and true owners, which only the demo has together.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from privedge_lab.demo.run import Exchange, Outcome, Seen

COLLUSION = (
    "Party 0 and party 1 must not collude, and the dealer must collude with neither: "
    "any two of the three together can read everything. They belong to three operators."
)
ONE_MACHINE = (
    "Here all three ran on one machine, as one user, who also played the owners and the client. "
    "So this run protected nobody; it shows that the parts work."
)


@dataclass(frozen=True)
class Summary:
    """The content of summary.json. Rates are in [0, 1]; bytes are those sent to the other party."""

    owners: int
    queries: int
    accuracy: float
    plaintext_accuracy: float
    agreement: float
    median_query_s: float
    rounds_per_query: int
    bytes_per_query_per_party: int
    preset: str
    seconds: float


@dataclass(frozen=True)
class Line:
    """One line of the table of results."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Sight:
    """What one participant saw, and what it did not see."""

    who: str
    saw: str
    never: str


def summary(outcome: Outcome) -> Summary:
    """Compute the figures of the owners' pictures asked; strangers are not counted."""
    asked = outcome.asked
    return Summary(
        owners=outcome.owners,
        queries=len(asked),
        accuracy=_share(each.answer == each.truth for each in asked),
        plaintext_accuracy=_share(each.plain.real == each.truth for each in asked),
        agreement=_share(each.answer == each.plain.fixed for each in asked),
        median_query_s=round(float(np.median([each.seconds for each in asked])), 4),
        rounds_per_query=_typical(each.costs[0].rounds for each in asked),
        bytes_per_query_per_party=_typical(_sent(each) for each in asked),
        preset=outcome.plan.task.spec.name,
        seconds=round(outcome.seconds, 1),
    )


def title(outcome: Outcome) -> str:
    """Say in a few words what was run."""
    task = outcome.plan.task
    return (
        f"{len(outcome.asked)} {task.words.things} asked of {outcome.owners} owners, preset "
        f"{task.spec.name}"
    )


def lines(outcome: Outcome) -> list[Line]:
    """Return the table of results."""
    figures, task = summary(outcome), outcome.plan.task
    rivals = "" if task.rivals is None else ", and of every public rival's"
    unknown = sum(each.answer is None for each in outcome.asked)
    refused = sum(each.answer is None for each in outcome.strangers)
    dealt = _typical(max(cost.bytes_from_dealer for cost in each.costs) for each in outcome.asked)
    right = sum(each.answer == each.truth for each in outcome.asked)
    return [
        Line("label accuracy", f"{figures.accuracy:.1%}", f"{right} of {figures.queries} right"),
        Line(
            "without any privacy",
            f"{figures.plaintext_accuracy:.1%}",
            "the same models and images in plain float32",
        ),
        Line(
            "agreement with the plaintext model",
            f"{figures.agreement:.1%}",
            "same answer as the same arithmetic in the clear",
        ),
        Line(
            f'{task.words.things} answered "unknown"',
            f"{unknown} of {figures.queries}",
            f"the best error must be below {task.margin} of the second best{rivals}",
        ),
        Line(
            'strangers answered "unknown"',
            f"{refused} of {len(outcome.strangers)}",
            task.words.strangers,
        ),
        Line("seconds per query", f"{figures.median_query_s:.2f}", "median, as the client waits"),
        Line(
            "rounds per query",
            f"{figures.rounds_per_query}",
            "exchanges between the parties; median",
        ),
        Line("sent per query and party", _size(figures.bytes_per_query_per_party), "to the other"),
        Line("dealt per query", _size(dealt), "random numbers, to one of the parties"),
    ]


def sights(outcome: Outcome) -> list[Sight]:
    """Say what each process has seen. The parties' figures are their own (RPC Status)."""
    questions = outcome.seen[0].questions
    return [
        Sight("each owner", "own images, own model", "anybody else's; the questions; the answers"),
        Sight("client", f"its own {questions} images and their answers", "any model"),
        _party(0, outcome.seen[0], outcome.owners),
        _party(1, outcome.seen[1], outcome.owners),
        Sight(
            "dealer",
            "shapes and counts of the operations it deals random numbers for",
            "one byte of any share: no message to it has a place for one",
        ),
    ]


def mark(exchange: Exchange) -> str:
    """Return right, wrong or unknown. For an unknown subject, "unknown" is right."""
    if exchange.answer == exchange.truth:
        return "right"
    return "unknown" if exchange.answer is None else "wrong"


def _party(index: int, seen: Seen, owners: int) -> Sight:
    return Sight(
        f"party {index}",
        f"{_size(seen.model_bytes)} of random-looking shares of {owners} models, "
        f"{_size(seen.image_bytes)} of {seen.questions} images; the owners' names; who asked when",
        "a weight, a pixel, how well a model fits, an answer",
    )


def _share(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))


def _typical(counts: Iterable[int]) -> int:
    """Return the median, for a snapshot's first query costs more: it opens the masked weights."""
    return round(float(np.median(list(counts))))


def _sent(exchange: Exchange) -> int:
    return max(cost.bytes_to_peer for cost in exchange.costs)


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"
