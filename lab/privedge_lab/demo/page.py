"""Render an outcome as a page: one self-contained HTML file, for any browser, offline.

Sees questions, reconstructions and answers together, which only the demo can. The template escapes
every text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from privedge.ran.feature_kinds import Oriented, OrientedCentre, OrientedScales, Pixels
from privedge.ran.spec import RanSpec
from privedge.sharing.fixed_point import encode
from privedge.sharing.split import split
from privedge_lab.demo import pictures, report
from privedge_lab.demo.run import Exchange, Outcome
from privedge_lab.pages import page

# Mistakes come first: they are the most interesting.
_ORDER = ("wrong", "unknown", "right")


@dataclass(frozen=True)
class Card:
    """One question in the gallery. Pictures are data URIs; `maps` is None for pixel presets."""

    mark: str
    truth: str | None
    answer: str | None
    best: str
    image: str
    maps: str | None
    reconstruction: str


@dataclass(frozen=True)
class Halves:
    """One question as the client has it, and its share at each party; pictures are data URIs."""

    image: str
    maps: str | None
    shares: tuple[str, str]


def render(outcome: Outcome) -> bytes:
    """Return the page's HTML as UTF-8."""
    cards = sorted(_cards(outcome, outcome.asked), key=lambda card: _ORDER.index(card.mark))
    return page.render(
        "privedge_lab.demo",
        outcome=outcome,
        words=outcome.plan.task.words,
        figures=report.summary(outcome),
        lines=report.lines(outcome),
        sights=report.sights(outcome),
        collusion=report.COLLUSION,
        one_machine=report.ONE_MACHINE,
        halves=_halves(outcome.plan.task.spec, outcome.asked[0]),
        drawing=_drawing(outcome.plan.task.spec),
        cards=cards,
        strangers=_cards(outcome, outcome.strangers),
    )


def _cards(outcome: Outcome, exchanges: Sequence[Exchange]) -> list[Card]:
    return [
        Card(
            mark=report.mark(each),
            truth=each.truth,
            answer=each.answer,
            best=each.plain.best,
            image=pictures.data_uri(each.image),
            maps=_maps(outcome.plan.task.spec, each),
            reconstruction=pictures.data_uri(
                pictures.drawn(outcome.plan.task.spec, each.plain.reconstruction)
            ),
        )
        for each in exchanges
    ]


def _halves(spec: RanSpec, exchange: Exchange) -> Halves:
    """Split the same question once more, for nothing here keeps the shares that were sent."""
    shares = split(encode(exchange.plain.features, what="query"))
    first, second = (pictures.data_uri(pictures.noise(share)) for share in shares)
    return Halves(pictures.data_uri(exchange.image), _maps(spec, exchange), (first, second))


def _maps(spec: RanSpec, exchange: Exchange) -> str | None:
    if isinstance(spec.features, Pixels):
        return None
    return pictures.data_uri(pictures.drawn(spec, exchange.plain.features))


def _drawing(spec: RanSpec) -> str:
    """Say what a card shows beside the question."""
    match spec.features:
        case Pixels():
            return "the picture as the best model redraws it"
        case Oriented() | OrientedScales() | OrientedCentre():
            cells = " by ".join(str(extent) for extent in spec.input_shape[1:])
            return (
                "what the best model makes of it. Models redraw maps of edges, not pixels: strokes "
                f"show which way the edges run in each of {cells} cells, brightness how strongly"
            )
        case _:
            count = int(np.prod(spec.input_shape))
            return (
                f"what the best model makes of it. Models redraw {count} features, not pixels; "
                "they are shown as a grey square"
            )
