"""Decisions on shares agree with plaintext ones, also if distances are equal or at the margin."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.decision import Decision
from parties.mpc.fused.engine import FusedEngine
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import Outcome, run


def plainly(distances: np.ndarray, thresholds: np.ndarray, steps: int) -> np.ndarray:
    """The rule in words: the least, if below margin times the second, and below its threshold."""
    answers = np.zeros_like(distances)
    for row, answer in zip(distances, answers, strict=True):
        best = int(row.argmin())
        second = np.delete(row, best).min() if row.size > 1 else None
        close = second is None or 1024 * row[best] < steps * second
        answer[best] = close and row[best] < thresholds[best]
    return answers


def decided(distances, thresholds, steps, engine_type) -> Outcome:
    def program(engine, values, limits):
        return Decision(engine, margin=steps / 1024).answer(values, limits)

    return run(
        program,
        distances.view(np.uint64),
        thresholds.view(np.uint64),
        engine_type=engine_type,
    )


def cases(owners: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Six rows of distances with many ties, near margins, or far apart up to the range bound."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.integers(1, 4, size=owners),
        rng.integers(1, 4, size=owners),
        rng.integers(1000, 1100, size=owners),
        rng.integers(0, 2**52, size=owners),
        2**52 - 1 - rng.integers(0, 2**44, size=owners),
        np.where(np.arange(owners) == rng.integers(owners), 900, 1000),
    ]
    limits = rng.choice([2, 950, 2**52 - 1], size=owners)
    return np.array(rows, dtype=np.int64), limits


@pytest.mark.parametrize("owners", [1, 2, 15, 16, 17, 40, 257])
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.sampled_from([512, 922, 1023, 1024]))
def test_fused_answers_are_those_of_the_rule(owners, seed, steps):
    distances, limits = cases(owners, seed)
    expected = plainly(distances, limits, steps)
    clear = Decision(ClearEngine(), margin=steps / 1024).answer(
        torch.from_numpy(distances), torch.from_numpy(limits)
    )
    assert (clear.numpy() == expected).all()
    outcome = decided(distances, limits, steps, FusedEngine)
    assert (outcome.value.view(np.int64) == expected).all()


@pytest.mark.parametrize("owners", [1, 3, 17])
def test_answers_of_the_reference_engine_are_those_of_the_rule(owners):
    distances, limits = cases(owners, 7)
    outcome = decided(distances, limits, 1000, CryptenEngine)
    assert (outcome.value.view(np.int64) == plainly(distances, limits, 1000)).all()


@pytest.mark.parametrize(
    ("owners", "rounds"), [(1, 4), (2, 5), (16, 5), (17, 10), (40, 10), (256, 10), (257, 15)]
)
def test_a_level_takes_five_rounds_and_one_owner_four(owners, rounds):
    distances, limits = cases(owners, 0)
    outcome = decided(distances, limits, 1000, FusedEngine)
    assert [session.rounds for session in outcome.sessions] == [rounds, rounds]
