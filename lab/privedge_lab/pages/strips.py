"""Figures of several kinds beside each other, one row a data set: names fit even on a phone."""

from collections.abc import Sequence
from dataclasses import dataclass

from privedge_lab.pages.svg import KINDS, WIDTH, Tick
from privedge_lab.pages.wording import Spread, listed, percent

_LEFT, _RIGHT, _TOP, _ROW = 10, 350, 6, 42


@dataclass(frozen=True)
class Dot:
    """One figure, and from where to where it was seen."""

    kind: int
    x: float
    low: float
    high: float


@dataclass(frozen=True)
class Strip:
    """One row: its name's place, its line's place, and what lies on it."""

    name: str
    at: float
    line: float
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Strips:
    """Shares from 0 to 1."""

    labels: tuple[str, ...]
    rows: tuple[Strip, ...]
    ticks: tuple[Tick, ...]
    says: str
    height: int
    width: int = WIDTH
    left: int = _LEFT
    right: int = _RIGHT


def strips(labels: Sequence[str], rows: Sequence[tuple[str, Sequence[Spread | None]]]) -> Strips:
    """`rows` are names with one figure for each of `labels`, or None."""
    placed, told = [], []
    for number, (name, found) in enumerate(rows):
        top = _TOP + number * _ROW
        there = [(kind, one) for kind, one in enumerate(found) if one is not None]
        dots = [
            Dot(kind % KINDS, _place(one.mean), _place(one.low), _place(one.high))
            for kind, one in there
        ]
        placed.append(Strip(name, top + 12, top + 26, tuple(dots)))
        figures = [f"{labels[kind]} {percent(one.mean)}" for kind, one in there]
        told.append(f"{name}: {listed(figures)}.")
    ticks = [Tick(_place(share / 4), f"{25 * share} %") for share in range(5)]
    height = _TOP + len(rows) * _ROW + 20
    return Strips(tuple(labels), tuple(placed), tuple(ticks), " ".join(told), height)


def _place(share: float) -> float:
    return round(_LEFT + min(max(share, 0.0), 1.0) * (_RIGHT - _LEFT), 1)
