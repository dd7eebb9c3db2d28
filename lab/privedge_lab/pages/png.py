"""Charts as panels of a PNG file, for experiments that leave pictures beside their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from privedge_lab import outputs
from privedge_lab.pages.charts import Chart, Series

_INCHES, _DPI = (6.4, 4.8), 120
_MARKERS = "osv^x"


@dataclass(frozen=True)
class Panel:
    """A chart with a heading of its own."""

    title: str
    chart: Chart


def write(panels: Sequence[Panel], path: Path) -> None:
    """Draw `panels` side by side. Raises ConfigError for another file that is there."""
    outputs.require_replaceable(path, outputs.PICTURE)
    figure = Figure(figsize=(_INCHES[0] * len(panels), _INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw(axes, panel)
    figure.savefig(path, format="png", dpi=_DPI, metadata={"Software": outputs.SOFTWARE})


def _draw(axes: Axes, panel: Panel) -> None:
    chart = panel.chart
    for number, each in enumerate(chart.series):
        if chart.names and not chart.lines:
            _bars(axes, each, number, len(chart.series))
        else:
            _line(axes, each, chart.lines)
    for name, height in chart.levels.items():
        axes.axhline(height, linestyle="--", color="grey", label=name)
    if chart.names:
        axes.set_xticks(range(len(chart.names)), chart.names, rotation=_turned(chart))
    axes.set(xlabel=chart.x_label, ylabel=chart.y_label, title=panel.title)
    axes.set(xscale="log" if chart.log_x else "linear", yscale="log" if chart.log_y else "linear")
    if chart.series:
        axes.legend(fontsize="small" if len(chart.series) > len(_MARKERS) else "medium")


def _line(axes: Axes, series: Series, joined: bool) -> None:
    """With its ranges, and the texts of points that have one."""
    axes.errorbar(
        [each.x for each in series.points],
        [each.y for each in series.points],
        yerr=_ranges(series),
        label=series.label,
        marker=_MARKERS[(series.kind or 0) % len(_MARKERS)],
        linestyle="none" if not joined else ":" if series.faint else "-",
        capsize=3,
    )
    for each in series.points:
        if each.text:
            axes.annotate(each.text, (each.x, each.y), fontsize="small")


def _bars(axes: Axes, series: Series, number: int, count: int) -> None:
    """Beside those of the other series, one group a name."""
    width = 0.8 / count
    offset = (number - (count - 1) / 2) * width
    axes.bar(
        [each.x + offset for each in series.points],
        [each.y for each in series.points],
        width,
        yerr=_ranges(series),
        label=series.label,
    )


def _ranges(series: Series) -> list[list[float]]:
    below = [each.y - each.low for each in series.points]
    return [below, [each.high - each.y for each in series.points]]


def _turned(chart: Chart) -> float:
    """Many names would run into each other."""
    return 20 if sum(map(len, chart.names)) > 44 else 0
