"""The rule for "unknown" in the clear is the one that the parties compute."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from parties.mpc.decision import Decision
from privedge.sharing import known
from privedge.sharing.intervals import least_for, wilson
from privedge_lab.reference.clear import ClearEngine

WHOLE = 1 << 32


@given(
    owners=st.lists(st.integers(0, 1 << 14), min_size=1, max_size=40),
    rivals=st.lists(st.integers(0, 1 << 14), max_size=20),
    steps=st.integers(1, 1024),
)
@example(owners=[5], rivals=[], steps=1)
@example(owners=[512, 1024], rivals=[1024], steps=512)  # exactly at the margin
def test_a_ratio_below_the_margin_is_what_the_parties_name(owners, rivals, steps):
    errors, others = np.array([owners], float), np.array([rivals], float).reshape(1, -1)
    (ratio,) = known.ratios(errors, others)
    answer = Decision(ClearEngine(), margin=steps / known.MARGIN_STEPS).answer(
        torch.tensor([owners]) * WHOLE,
        torch.full((len(owners),), 2**47 * 8),
        torch.tensor([rivals]) * WHOLE if rivals else None,
    )
    # All zeros are no distances: 0 / 0 is nothing, and the parties compare 0 < 0.
    if min(owners) > 0:
        assert bool(answer.any()) == (ratio < steps / known.MARGIN_STEPS)


def test_errors_to_rivals_are_sums_of_squares():
    rng = np.random.default_rng(0)
    x, c = (rng.normal(size=(n, 2, 3)).astype(np.float32) for n in (5, 4))
    found = known.to_rivals(x, c)
    expected = np.square(x[:, None] - c[None]).sum((2, 3))
    assert found.shape == (5, 4) and np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("margin", "owners", "rivals", "said"),
    [
        (1.0, 2, 0, "its margin is 1"),
        (0.9999, 2, 0, "its margin is 1"),  # the parties count in 1,024 steps
        (0.999, 2, 0, ""),
        (0.5, 1, 0, "it has one owner and no public rivals"),
        (1.0, 1, 0, "it has one owner and no public rivals"),
        (0.5, 1, 1, ""),
        (1.0, 2, 20, ""),
        (1.0, 0, 0, ""),
    ],
)
def test_why_a_cohort_never_answers_unknown(margin, owners, rivals, said):
    assert known.never_unknown(margin, owners, rivals) == said


def test_a_margin_in_steps_is_never_larger():
    for margin in (1.0, 0.7, 0.12345, 1 / 1024):
        assert margin - 1 / 1024 < known.in_steps(margin) <= margin


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        # statsmodels.stats.proportion.proportion_confint(count, of, method="wilson")
        (0, 100, 0.0, 0.03699),
        (1, 100, 0.00177, 0.05449),
        (50, 100, 0.40383, 0.59617),
        (100, 100, 0.96301, 1.0),
        (0, 0, 0.0, 1.0),
    ],
)
def test_intervals_are_wilsons(count, of, low, high):
    assert wilson(count, of) == pytest.approx((low, high), abs=2e-5)


def test_a_share_needs_as_many_as_one_of_them_is_that_share():
    assert [least_for(share) for share in (0.01, 0.001, 0.5, 0.03)] == [100, 1000, 2, 34]
