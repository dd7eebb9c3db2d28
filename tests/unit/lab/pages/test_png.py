"""One description of a chart, drawn as a picture file."""

import numpy as np
import pytest
from PIL import Image

from privedge_lab.pages.charts import Chart, Point, Series
from privedge_lab.pages.png import Panel, write

LINE = Series("a", tuple(Point(x, y, y - 0.5, y + 0.5, "top") for x, y in ((0, 1), (1, 3))))
EMPTY = Chart("x", "y", ())


def inked(path) -> int:
    """How many pixels are not white."""
    with Image.open(path) as picture:
        return int((np.asarray(picture.convert("L")) < 250).sum())


@pytest.mark.parametrize(
    "chart",
    [
        Chart("x", "y", (LINE,), levels={"guess": 2.0}),
        Chart("x", "y", (LINE,), names=("left", "right")),
        Chart("x", "y", (LINE, LINE), names=("left", "right"), lines=False),
        Chart("x", "y", (Series("b", LINE.points[1:]),), log_x=True, log_y=True),
    ],
    ids=["line", "names", "bars", "logarithms"],
)
def test_a_chart_has_more_ink_than_its_axes(chart, tmp_path):
    write([Panel("t", EMPTY)], tmp_path / "empty.png")
    write([Panel("t", chart)], tmp_path / "chart.png")
    assert inked(tmp_path / "chart.png") > inked(tmp_path / "empty.png") + 500


def test_panels_stand_side_by_side(tmp_path):
    for count in (1, 3):
        write([Panel("t", EMPTY)] * count, tmp_path / f"{count}.png")
    with Image.open(tmp_path / "1.png") as one, Image.open(tmp_path / "3.png") as three:
        assert (three.width, three.height) == (3 * one.width, one.height)
