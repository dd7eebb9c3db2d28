"""Contact sheets: the sizes, and where things are."""

import numpy as np
import pytest
import torch

from privedge.errors import ImageError
from privedge_lab.evaluation.sheets import (
    CAPTION_WIDTH,
    GAP,
    Row,
    captioned,
    load,
    save,
    sheet,
    strip,
)


def test_a_strip_has_the_images_side_by_side():
    images = torch.stack([torch.full((1, 4, 5), value) for value in (0.0, 0.5, 1.5)])
    drawn = strip(images)
    assert drawn.shape == (4, 3 * 5 + 2 * GAP, 3)
    assert (drawn[:, :5] == 0).all()
    assert (drawn[:, 5 + GAP : 10 + GAP] == 128).all()
    assert (drawn[:, 5 : 5 + GAP] == 255).all()


def test_colours_stay_colours():
    red = torch.zeros(1, 3, 4, 4)
    red[:, 0] = 1
    assert (strip(red) == [255, 0, 0]).all()


def test_a_sheet_has_enlarged_rows_beside_captions(tmp_path):
    black = strip(torch.zeros(3, 1, 28, 28))
    page = sheet([Row("original", black), Row("attack\n12.0 dB", black)])
    assert page.shape == (2 * 2 * 28 + GAP, CAPTION_WIDTH + 2 * black.shape[1], 3)
    assert (page[:56, CAPTION_WIDTH : CAPTION_WIDTH + 56] == 0).all()
    for top in (0, 56 + GAP):
        assert page[top : top + 56, :CAPTION_WIDTH].min() < 100, "the caption is drawn"
    save(page, tmp_path / "sheet.png")
    assert np.array_equal(load(tmp_path / "sheet.png"), page)


def test_rows_of_different_sizes_are_refused():
    rows = [Row("a", strip(torch.zeros(1, 1, 8, 8))), Row("b", strip(torch.zeros(2, 1, 8, 8)))]
    with pytest.raises(ImageError, match="one size"):
        sheet(rows)
    with pytest.raises(ImageError, match="one size"):
        sheet([])


def test_small_images_are_enlarged_to_the_largest_and_wild_values_stretched():
    small, wild = torch.ones(2, 1, 2, 2), torch.tensor([-3.0, 5.0]).view(2, 1, 1, 1)
    grey, stretched = torch.full((2, 1, 4, 4), 0.5), torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    page = captioned([("a", small), ("b", grey), ("c", wild)])
    expected = [torch.ones(2, 1, 4, 4), grey, stretched.expand(-1, -1, 4, 4)]
    rows = [Row(name, strip(images)) for name, images in zip("abc", expected, strict=True)]
    assert np.array_equal(page, sheet(rows))


def test_what_is_no_picture_is_refused(tmp_path):
    (tmp_path / "x.png").write_text("no")
    with pytest.raises(ImageError, match="cannot be read"):
        load(tmp_path / "x.png")
