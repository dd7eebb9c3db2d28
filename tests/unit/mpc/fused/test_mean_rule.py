"""Decisions that also use the mean over all owners agree with the rule in whole numbers."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.decision import MARGIN_STEPS, Decision, RuleConstants
from parties.mpc.fused.engine import FusedEngine
from privedge.errors import ShareError
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import Outcome, run

# With nothing below the point, truncation has one result, and so has the decision.
WHOLE = 1 << 16


def plainly(distances, thresholds, margin: float, share: float) -> np.ndarray:
    """Python integers, which cannot wrap."""
    owners = distances.shape[1]
    weights = RuleConstants.of(margin, share, owners)
    answers = np.zeros_like(distances)
    for row, answer in zip(distances.tolist(), answers, strict=True):
        best, *rest = sorted(row)
        bound = weights.second * rest[0] + weights.mean * (sum(row) // WHOLE) if rest else None
        known = bound is None or (best < rest[0] and MARGIN_STEPS * best < bound)
        at = row.index(best)
        answer[at] = known and best < thresholds[at]
    return answers


def cases(owners: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with ties, near the bound, and up to the range bound; and thresholds."""
    rng = np.random.default_rng(seed)
    near = rng.integers(1000, 1100, size=owners)
    far = np.where(np.arange(owners) == rng.integers(owners), 700, rng.integers(800, 3000, owners))
    rows = [
        rng.integers(1, 4, size=owners) * WHOLE,
        near * WHOLE,
        far * WHOLE,
        far * WHOLE,
        rng.integers(0, 2**36, size=owners) * WHOLE,
        2**52 - WHOLE - rng.integers(0, 2**28, size=owners) * WHOLE,
    ]
    return np.array(rows, dtype=np.int64), rng.choice([950 * WHOLE, 2**52 - 1], size=owners)


def decided(distances, thresholds, margin, share, engine_type) -> Outcome:
    def program(engine, values, limits):
        return Decision(engine, margin=margin, mean_share=share).answer(values, limits)

    words = (distances.view(np.uint64), thresholds.view(np.uint64))
    return run(program, *words, engine_type=engine_type)


@pytest.mark.parametrize("owners", [1, 2, 16, 17, 40, 257])
@settings(max_examples=4, deadline=None)
# Two in one group are equally near: nobody's, as in different groups.
@example(seed=2663, margin=0.5, share=1.0)
@given(
    seed=st.integers(0, 2**32),
    margin=st.sampled_from([0.5, 0.7, 0.999, 1.0]),
    share=st.sampled_from([0.35, 1.0]),
)
def test_fused_answers_are_those_of_the_rule(owners, seed, margin, share):
    distances, limits = cases(owners, seed)
    expected = plainly(distances, limits, margin, share)
    clear = Decision(ClearEngine(), margin=margin, mean_share=share).answer(
        torch.from_numpy(distances), torch.from_numpy(limits)
    )
    assert (clear.numpy() == expected).all()
    outcome = decided(distances, limits, margin, share, FusedEngine)
    assert (outcome.value.view(np.int64) == expected).all()


@pytest.mark.parametrize("owners", [1, 3, 17])
def test_answers_of_the_reference_engine_are_those_of_the_rule(owners):
    distances, limits = cases(owners, 7)
    outcome = decided(distances, limits, 0.7, 0.35, CryptenEngine)
    assert (outcome.value.view(np.int64) == plainly(distances, limits, 0.7, 0.35)).all()


@pytest.mark.parametrize(
    ("owners", "margin", "share", "rounds"),
    [(1, 0.7, 0.35, 4), (16, 0.7, 0.35, 6), (17, 0.7, 0.35, 11), (16, 1.0, 0.35, 5)],
)
def test_a_mean_takes_one_round_and_none_where_it_decides_nothing(owners, margin, share, rounds):
    distances, limits = cases(owners, 0)
    outcome = decided(distances, limits, margin, share, FusedEngine)
    assert [session.rounds for session in outcome.sessions] == [rounds, rounds]


def test_more_owners_than_one_sum_holds_at_the_range_bound():
    distances = np.full((2, 1500), 2**52 - WHOLE, np.int64)
    distances[:, 1200] = [2**51 + 2**44, 2**50]
    limits = torch.full((1500,), 2**52 - 1)
    for share in (0.35, 1.0):
        answer = Decision(ClearEngine(), margin=0.5, mean_share=share).answer(
            torch.from_numpy(distances), limits
        )
        assert answer.sum(1).tolist() == [0, 1] and answer[1, 1200] == 1


@given(
    distances=st.lists(st.integers(0, 2**36), min_size=2, max_size=60, unique=True),
    margin=st.floats(0.1, 0.99),
    share=st.floats(0, 1),
)
def test_the_whole_numbers_are_the_rule_in_words_to_a_thousandth(distances, margin, share):
    row = [distance * WHOLE for distance in distances]
    weights = RuleConstants.of(margin, share, len(row))
    second, mean = sorted(row)[1], sum(row) / len(row)
    exact = margin * ((1 - share) * second + share * mean)
    bound = (weights.second * second + weights.mean * (sum(row) // WHOLE)) / MARGIN_STEPS
    assert abs(bound - exact) <= second / 1000 + mean / 1000


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ShareError, match="mean_share"):
        Decision(ClearEngine(), margin=0.5, mean_share=share)
