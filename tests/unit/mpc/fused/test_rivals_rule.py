"""Decisions with public rivals agree with the rule in whole numbers, on shares as in the clear."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.decision import MARGIN_STEPS, Decision
from parties.mpc.fused.engine import FusedEngine
from privedge.errors import ShareError
from privedge.ran.rivals import MAX_RIVALS
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import Outcome, run

LARGEST = 2**52 - 1


def plainly(distances, thresholds, rivals, steps: int) -> np.ndarray:
    """Python integers, which cannot wrap: nearer than every other owner and every rival."""
    answers = np.zeros_like(distances)
    for row, others, answer in zip(distances.tolist(), rivals.tolist(), answers, strict=True):
        best, *rest = sorted(row)
        close = all(MARGIN_STEPS * best < steps * each for each in [*rest[:1], *others])
        at = row.index(best)
        answer[at] = close and best < thresholds[at]
    return answers


def cases(owners: int, rivals: int, seed: int):
    """Rows with ties, near the margin, and up to the range bound; thresholds; and rivals alike."""
    rng = np.random.default_rng(seed)

    def rows(count: int) -> np.ndarray:
        drawn = [
            rng.integers(1, 4, size=count),
            rng.integers(1000, 1100, size=count),
            rng.integers(0, 2**52, size=count),
            LARGEST - rng.integers(0, 2**44, size=count),
            np.where(np.arange(count) == rng.integers(max(1, count)), 900, 1000),
            np.full(count, 1100),
        ]
        return np.array(drawn, dtype=np.int64).reshape(len(drawn), count)

    limits = rng.choice([2, 950, LARGEST], size=owners)
    return rows(owners), limits, rows(rivals)


def decided(distances, limits, rivals, steps, engine_type) -> Outcome:
    def program(engine, values, thresholds, public):
        decision = Decision(engine, margin=steps / MARGIN_STEPS)
        return decision.answer(values, thresholds, public if rivals.shape[1] else None)

    words = (each.view(np.uint64) for each in (distances, limits, rivals))
    return run(program, *words, engine_type=engine_type)


def in_the_clear(distances, limits, rivals, steps) -> np.ndarray:
    given = (torch.from_numpy(each) for each in (distances, limits, rivals))
    return Decision(ClearEngine(), margin=steps / MARGIN_STEPS).answer(*given).numpy()


@pytest.mark.parametrize("owners", [1, 2, 5, 16, 17, 40, 257])
@pytest.mark.parametrize("rivals", [0, 1, 20])
@settings(max_examples=3, deadline=None)
@example(seed=1, steps=1024)
@given(seed=st.integers(0, 2**32), steps=st.sampled_from([512, 922, 1023, 1024]))
def test_fused_answers_are_those_of_the_rule(owners, rivals, seed, steps):
    distances, limits, public = cases(owners, rivals, seed)
    expected = plainly(distances, limits, public, steps)
    if rivals:
        assert (in_the_clear(distances, limits, public, steps) == expected).all()
    outcome = decided(distances, limits, public, steps, FusedEngine)
    assert (outcome.value.view(np.int64) == expected).all()


@pytest.mark.parametrize(("owners", "rivals"), [(1, 1), (1, MAX_RIVALS), (3, 20), (17, 20)])
def test_answers_of_the_reference_engine_are_those_of_the_rule(owners, rivals):
    distances, limits, public = cases(owners, rivals, 7)
    outcome = decided(distances, limits, public, 1000, CryptenEngine)
    assert (outcome.value.view(np.int64) == plainly(distances, limits, public, 1000)).all()


@settings(max_examples=300, deadline=None)
@example(best=512, rival=1024, steps=512)  # exactly at the margin: unknown
@example(best=511, rival=1024, steps=512)
@example(best=LARGEST - 1, rival=LARGEST, steps=1024)
@example(best=0, rival=0, steps=1024)
@given(best=st.integers(0, LARGEST), rival=st.integers(0, LARGEST), steps=st.integers(1, 1024))
def test_the_edge_between_one_owner_and_one_rival_is_exact(best, rival, steps):
    one, other = np.array([[best]]), np.array([[rival]])
    (answer,) = in_the_clear(one, np.array([LARGEST + 1]), other, steps)[0]
    assert answer == (MARGIN_STEPS * best < steps * rival)


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
def test_one_owner_alone_does_not_answer_for_strangers(engine_type):
    # The trap: with one contestant the first comparison alone would be the answer.
    distances, limits = np.array([[100], [1000]]), np.array([LARGEST])
    rivals = np.array([[900, 800], [900, 2000]])
    outcome = decided(distances, limits, rivals, 717, engine_type)
    assert outcome.value.tolist() == [[1], [0]]
    # The same rival further back in the list counts as much.
    outcome = decided(distances, limits, rivals[:, ::-1].copy(), 717, engine_type)
    assert outcome.value.tolist() == [[1], [0]]


@pytest.mark.parametrize(
    ("owners", "rivals", "rounds"),
    [(1, 0, 4), (1, 20, 5), (2, 20, 5), (16, MAX_RIVALS, 5), (17, 20, 10), (257, MAX_RIVALS, 15)],
)
def test_rivals_take_no_round_but_where_one_owner_was_alone(owners, rivals, rounds):
    distances, limits, public = cases(owners, rivals, 0)
    outcome = decided(distances, limits, public, 1000, FusedEngine)
    assert [session.rounds for session in outcome.sessions] == [rounds, rounds]


def test_more_rivals_than_the_choice_has_room_for_are_refused():
    distances, limits, public = map(torch.from_numpy, cases(2, MAX_RIVALS + 1, 0))
    with pytest.raises(ShareError, match=f"at most {MAX_RIVALS}"):
        Decision(ClearEngine(), margin=0.5).answer(distances, limits, public)


def test_rivals_and_a_share_of_the_mean_are_refused_together():
    distances, limits, public = map(torch.from_numpy, cases(2, 1, 0))
    with pytest.raises(ShareError, match="mean_share"):
        Decision(ClearEngine(), margin=0.5, mean_share=0.35).answer(distances, limits, public)
