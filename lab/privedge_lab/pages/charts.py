"""What a chart shows, before it is drawn. Pure data.

A point has the range it was seen in (over seeds, or an interval of the row) as low and high.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from privedge_lab.pages.wording import Spread, listed

# A curve of more points is thinned: no screen shows them.
_MOST_POINTS = 240


@dataclass(frozen=True)
class Point:
    """`low` and `high` equal `y` where only one figure is known. `text` is written beside it where
    there is room.
    """

    x: float
    y: float
    low: float
    high: float
    text: str = ""


@dataclass(frozen=True)
class Series:
    """One line or set of dots. `faint`: a guide to the eye, such as a fit, without markers.

    `kind` is the number of a colour and marker that it has in every chart; None takes its place.
    """

    label: str
    points: tuple[Point, ...]
    faint: bool = False
    kind: int | None = None


@dataclass(frozen=True)
class Chart:
    """`names` are the places of a scale of names: x is then their number. `level` are horizontal
    lines, by name. `unit` (of y) is "share" (0 to 1, as per cent), "dB", "s", "bytes" or "".
    """

    x_label: str
    y_label: str
    series: tuple[Series, ...]
    unit: str = ""
    names: tuple[str, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict)
    log_x: bool = False
    log_y: bool = False
    lines: bool = True
    x_unit: str = ""

    def says(self) -> str:
        """In words: axes, lines, and from where to where each goes."""
        kind = "Lines" if self.lines else "Dots"
        told = [f"{kind} of {self.y_label} against {self.x_label}."]
        for series in self.series[:12]:
            if series.points:
                first, last = series.points[0], series.points[-1]
                told.append(
                    f"{series.label}: {_figure(first.y, self.unit)} at {self._place(first.x)}"
                    + ("." if first is last else f", {self._end(last)}.")
                )
        if self.levels:
            lines = [f"{name} {_figure(y, self.unit)}" for name, y in self.levels.items()]
            told.append(f"For comparison: {listed(lines)}.")
        return " ".join(told)

    def _end(self, last: Point) -> str:
        return f"{_figure(last.y, self.unit)} at {self._place(last.x)}"

    def _place(self, x: float) -> str:
        return self.names[int(x)] if self.names else _figure(x, self.x_unit)


def _figure(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:.4g} {unit}".strip()


def point(x: float, found: Spread | None) -> Point | None:
    """The mean with its range."""
    return None if found is None else Point(x, found.mean, found.low, found.high)


def series(
    label: str, points: Sequence[Point | None], *, faint: bool = False, kind: int | None = None
) -> Series:
    """Those points that are there, by x; many are thinned evenly, the last one kept."""
    there = sorted((each for each in points if each is not None), key=lambda each: each.x)
    step = -(-len(there) // _MOST_POINTS) or 1
    kept = there[::step]
    if there and kept[-1] is not there[-1]:
        kept.append(there[-1])
    return Series(label, tuple(kept), faint, kind)
