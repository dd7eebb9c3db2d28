"""TAR at FAR, counted by hand and on cases that are too small to tell."""

import numpy as np
import pytest

from privedge.sharing.intervals import wilson
from privedge_lab.evaluation.strangers import Asked, of_half, of_set


def own_and_strangers(own, strangers):
    """Two owners; the ratio is the first column, of every image."""
    one = np.array([[ratio, 1.0] for ratio in own])
    return Asked(one), np.zeros(len(own), int), Asked(np.array([[r, 1.0] for r in strangers]))


def test_tar_is_taken_where_one_stranger_in_a_hundred_is_named():
    strangers = np.linspace(0.5, 0.99, 200)
    own, truth, others = own_and_strangers([0.1, 0.4, 0.503, 0.9], strangers)
    found = of_set(own, truth, others, margin=0.52)
    assert found.tar_at_far_01.share == 3 / 4
    assert found.tar_at_far_01.margin == strangers[2]
    assert (found.tar_at_far_01.low, found.tar_at_far_01.high) == wilson(3, 4)
    assert found.tar_at_far_001 is None  # 200 strangers do not tell one in a thousand
    named = int((strangers < 0.52).sum())
    assert found.far_at_margin.share == named / 200 and found.far_at_margin.margin == 0.52


def test_an_image_that_the_wrong_owner_wins_is_not_named_right():
    own, _, others = own_and_strangers([0.1, 0.2], [0.9] * 100)
    found = of_set(own, np.array([0, 1]), others, None)
    assert found.tar_at_far_01.share == 0.5
    assert found.far_at_margin is None and found.tar_at_margin is None


def test_rivals_make_strangers_unknown_and_are_counted_for_own_images_too():
    errors, near, far = np.full((100, 1), 0.5), np.full((100, 3), 0.4), np.full((100, 3), 5.0)
    truth = np.zeros(100, int)
    found = of_set(Asked(errors, far), truth, Asked(errors, near), 0.7)
    assert (found.tar_at_margin.share, found.far_at_margin.share) == (1, 0)
    without = of_set(Asked(errors), truth, Asked(errors), 0.7)
    assert without.far_at_margin.share == 1  # a cohort of one takes everybody


@pytest.mark.parametrize(("owners", "each", "resolved"), [(4, 60, True), (4, 40, False)])
def test_half_of_the_owners_are_strangers_of_the_others(owners, each, resolved):
    truth = np.repeat(np.arange(owners), each)
    errors = np.full((len(truth), owners), 5.0) + np.arange(owners) / 100
    errors[np.arange(len(truth)), truth] = 1.0
    found = of_half(Asked(errors), truth, 0.8, seed=0)
    assert (found.asked, found.strangers) == (owners // 2 * each, owners // 2 * each)
    assert found.far_at_margin.share == 0 and found.tar_at_margin.share == 1
    assert (found.tar_at_far_01 is not None) is resolved
    assert of_half(Asked(errors[:, :3]), truth, 0.8, seed=0) is None
