"""Charts as coordinates: all inside the frame, ticks that can be read, curves not too long."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from privedge_lab.pages.charts import Chart, Point, point, series
from privedge_lab.pages.svg import draw
from privedge_lab.pages.wording import Spread
from privedge_lab.report.matrix import matrix
from privedge_lab.report.sections.growth import fit, online_s
from privedge_lab.results.rows.identify import IdentifyRow
from privedge_lab.results.rows.scale import ScaleRow
from privedge_lab.results.rows.values import number

measured = st.floats(-1e14, 1e14, allow_nan=False).filter(
    lambda value: abs(value) > 1e-12
) | st.just(0.0)
points = st.builds(
    lambda x, y, around: Point(x, y, y - abs(around), y + abs(around)), measured, measured, measured
)


@settings(max_examples=60, deadline=None)
@given(
    given_points=st.lists(points, max_size=6),
    logs=st.booleans(),
    unit=st.sampled_from(["", "share", "dB", "bytes"]),
)
def test_whatever_is_drawn_lies_inside_the_frame(given_points, logs, unit):
    chart = Chart(
        "x", "y", (series("a", given_points),), unit, levels={"l": 1.0}, log_x=logs, log_y=logs
    )
    drawing = draw(chart)
    for line in drawing.lines:
        for x, y in line.markers:
            assert drawing.left <= x <= drawing.right
            assert drawing.top - 0.1 <= y <= drawing.bottom + 0.1
    assert 1 <= len(drawing.y_ticks) <= 12
    assert all(drawing.top - 1 <= tick.at <= drawing.bottom + 1 for tick in drawing.y_ticks)


def test_shares_are_drawn_from_nothing_to_all():
    drawing = draw(Chart("x", "y", (series("a", [Point(0, 0.84, 0.84, 0.84)]),), "share"))
    assert (drawing.y_ticks[0].text, drawing.y_ticks[-1].text) == ("0 %", "100 %")


def test_a_range_over_seeds_is_a_bar_and_a_single_figure_none():
    drawing = draw(Chart("x", "y", (series("a", [Point(0, 2, 1, 3), Point(1, 2, 2, 2)]),)))
    assert len(drawing.lines[0].bars) == 1


def test_a_long_curve_is_thinned_and_keeps_its_end():
    long = series("a", [point(x, Spread(x, x, x, 1)) for x in range(10_001)])
    assert len(long.points) <= 242
    assert (long.points[0].x, long.points[-1].x) == (0, 10_000)


def test_growth_is_fitted_by_the_line_that_made_it():
    rows = [{"owners": n, "private": {"online_s": 0.02 + 0.003 * n}} for n in (5, 10, 50, 100)]
    law = fit(list(map(ScaleRow.read, rows)), online_s)
    assert law is not None
    assert math.isclose(law.slope, 0.003) and math.isclose(law.intercept, 0.02)
    assert law.r_squared is not None and math.isclose(law.r_squared, 1.0)
    assert fit(list(map(ScaleRow.read, rows[:2])), online_s) is None


def test_a_confusion_matrix_adds_seeds_and_refuses_another_shape():
    found = matrix(["a", "b"], [IdentifyRow.read({"confusion": [[3, 1, 0], [0, 4, 0]]})] * 2)
    assert found is not None
    assert [(c.row, c.column, c.count) for c in found.confusions] == [(0, 1, 2)]
    assert matrix(["a", "b"], [IdentifyRow.read({"confusion": [[3, 1], [0, 4]]})]) is None
    assert matrix(["a"], [IdentifyRow.read({"confusion": [[1, True]]})]) is None


@given(st.none() | st.booleans() | st.text() | st.lists(st.integers()) | st.just(10**400))
def test_what_is_no_figure_is_none(value):
    assert number({"a": {"b": value}}, "a", "b") is None
