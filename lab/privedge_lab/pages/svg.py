"""A chart as coordinates of an SVG of WIDTH x HEIGHT units: about a phone's width in pixels.

The template adds colours, from the style sheet, so a drawing follows light and dark mode.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from privedge_lab.pages.charts import Chart, Point, Series
from privedge_lab.pages.wording import size

WIDTH, HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 350, 28, 206
# So many kinds of colour and marker there are in the style sheet.
KINDS = 8
_TICKS = 5
_MOST_MARKERS = 40

Scale = Callable[[float], float]


@dataclass(frozen=True)
class Tick:
    """A place on an axis, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One series. `bars` are (x, y of the low end, y of the high end)."""

    label: str
    kind: int
    path: str
    markers: tuple[tuple[float, float], ...]
    bars: tuple[tuple[float, float, float], ...]
    faint: bool


@dataclass(frozen=True)
class Drawing:
    """Everything with its place."""

    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    levels: tuple[Tick, ...]
    slanted: bool
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


def draw(chart: Chart) -> Drawing:
    """The chart's coordinates. A chart without points has axes only."""
    every = [each for series in chart.series for each in series.points]
    x_scale, x_ticks = _x_axis(chart, every)
    y_scale, y_ticks = _y_axis(chart, every)
    lines = [_line(number, each, chart, x_scale, y_scale) for number, each in _numbered(chart)]
    levels = [
        Tick(round(y_scale(value), 1), f"{name} ({_with_unit(value, chart.unit, 3)})")
        for name, value in chart.levels.items()
    ]
    return Drawing(
        chart.x_label,
        chart.y_label,
        tuple(x_ticks),
        tuple(y_ticks),
        tuple(lines),
        tuple(levels),
        slanted=bool(chart.names) and sum(len(name) for name in chart.names) > 44,
    )


def _numbered(chart: Chart) -> list[tuple[int, Series]]:
    return [
        ((number if each.kind is None else each.kind) % KINDS, each)
        for number, each in enumerate(chart.series)
    ]


def _line(kind: int, series: Series, chart: Chart, x_scale: Scale, y_scale: Scale) -> Line:
    places = [(round(x_scale(each.x), 1), round(y_scale(each.y), 1)) for each in series.points]
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in places) if places and chart.lines else ""
    bars = [
        (round(x_scale(each.x), 1), round(y_scale(each.low), 1), round(y_scale(each.high), 1))
        for each in series.points
        if each.high > each.low
    ]
    bare = series.faint or len(places) > _MOST_MARKERS
    markers = () if bare else tuple(places)
    return Line(series.label, kind, path, markers, () if bare else tuple(bars), series.faint)


def _x_axis(chart: Chart, every: Sequence[Point]) -> tuple[Scale, list[Tick]]:
    if chart.names:
        count = len(chart.names)
        step = (_RIGHT - _LEFT) / count

        def place(x: float) -> float:
            return _LEFT + step * (x + 0.5)

        every_nth = -(-count // 12)
        named = list(enumerate(chart.names))[::every_nth]
        return place, [Tick(round(place(at), 1), name[:14]) for at, name in named]
    values = [each.x for each in every]
    low, high = _range(values, chart.log_x)
    scale = _scaled(low, high, _LEFT + 6, _RIGHT - 6, log=chart.log_x)
    ticks = _log_ticks(low, high) if chart.log_x else _even_ticks(low, high)
    return scale, [Tick(round(scale(value), 1), _with_unit(value, chart.x_unit)) for value in ticks]


def _y_axis(chart: Chart, every: Sequence[Point]) -> tuple[Scale, list[Tick]]:
    values = [end for each in every for end in (each.low, each.high)] + list(chart.levels.values())
    if chart.log_y:
        low, high = _range(values, log=True)
        ticks = _log_ticks(low, high)
    else:
        if chart.unit == "share":
            values += [0.0, 1.0]
        low, high = _range(values, log=False)
        # Costs always from 0, others unless all there is to see is far above it.
        from_zero = low >= 0 and (low < high / 2 or chart.unit in ("s", "bytes"))
        ticks = _even_ticks(0.0 if from_zero else low, high, outside=True)
        low, high = ticks[0], ticks[-1]
    scale = _scaled(low, high, _BOTTOM, _TOP, log=chart.log_y)
    return scale, [Tick(round(scale(value), 1), _with_unit(value, chart.unit)) for value in ticks]


def _range(values: Sequence[float], log: bool) -> tuple[float, float]:
    usable = [value for value in values if value > 0] if log else list(values)
    low, high = (min(usable), max(usable)) if usable else (1.0, 1.0)
    if low < high:
        return low, high
    if log:
        return low / 2, high * 2
    return (low - 1, high + 1) if abs(low) < 1 else (low - abs(low) / 2, high + abs(high) / 2)


def _scaled(low: float, high: float, start: float, end: float, *, log: bool) -> Scale:
    def place(value: float) -> float:
        if log:
            # What is not above 0 has no place; it is put on the axis.
            share = math.log(max(value, low) / low) / math.log(high / low)
        else:
            share = (value - low) / (high - low)
        return start + share * (end - start)

    return place


def _even_ticks(low: float, high: float, *, outside: bool = False) -> list[float]:
    """Round values between low and high, or so that they enclose them."""
    rough = (high - low) / _TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = min((power * times for times in (1, 2, 2.5, 5, 10)), key=lambda one: abs(one - rough))
    first = math.floor(low / step) if outside else math.ceil(low / step - 1e-9)
    last = math.ceil(high / step) if outside else math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, or powers alone, or some powers if these are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for times in ((1, 2, 5), (1, 3), (1,)):
        ticks = [one * 10.0**power for power in powers for one in times]
        inside = [value for value in ticks if low * 0.999 <= value <= high * 1.001]
        if len(inside) <= _TICKS + 2:
            break
    return inside[:: -(-len(inside) // (_TICKS + 2)) or 1] or [low, high]


def _with_unit(value: float, unit: str, digits: int = 4) -> str:
    if unit == "share":
        return f"{100 * value:.3g} %"
    if unit == "bytes":
        return size(value)
    if abs(value) >= 1e5:
        return f"{value:.0e}".replace("e+0", "e")
    return f"{value:.{digits}g}"
