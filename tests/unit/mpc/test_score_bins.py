"""Scores in public bins: as in the clear, privately with both engines, and nothing seen of them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.score_bins import edges, sorted_into
from privedge_lab.reference.clear import ClearEngine
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.pair import as_tensor, as_words, run
from tests.unit.mpc.test_curious_party import is_bits

CLEAR = ClearEngine()
UNIT = 1 << 32


def wanted(distances: np.ndarray, bins: int, mean_share: float) -> list[int]:
    """The bin of each row, in floats."""
    ordered = np.sort(distances.astype(np.float64), axis=1)
    bound = (1 - mean_share) * ordered[:, 1] + mean_share * ordered.mean(1)
    ends = np.array(edges(bins)) / 1024
    return (ordered[:, :1] / bound[:, None] >= ends).sum(1).tolist()


def drawn(rows: int, owners: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(UNIT // 8, 60 * UNIT, (rows, owners))


@settings(deadline=None, max_examples=40)
@given(
    owners=st.integers(2, 40),
    bins=st.integers(2, 24),
    mean_share=st.sampled_from([0.0, 0.35, 1.0]),
    seed=st.integers(0, 1 << 30),
)
def test_every_score_is_in_its_bin(owners, bins, mean_share, seed):
    distances = drawn(6, owners, seed)
    found = sorted_into(CLEAR, torch.from_numpy(distances), bins, mean_share)
    assert (found.sum(1) == 1).all() and ((found == 0) | (found == 1)).all()
    assert found.argmax(1).tolist() == wanted(distances, bins, mean_share)


@pytest.mark.parametrize("owners", [1, 3, 20])
def test_public_rivals_may_be_second_and_are_never_best(owners):
    distances, rivals = drawn(9, owners, 1), drawn(9, 5, 2)
    nearest = np.sort(np.concatenate([distances, rivals], 1), 1)
    best = distances.min(1)
    second = np.where(best == nearest[:, 0], nearest[:, 1], nearest[:, 0])
    expected = (best[:, None] / second[:, None] >= np.array(edges(6)) / 1024).sum(1)
    found = sorted_into(CLEAR, torch.from_numpy(distances), 6, 0.0, torch.from_numpy(rivals))
    assert found.argmax(1).tolist() == expected.tolist()


@pytest.mark.parametrize("engine", [FusedEngine, CryptenEngine])
@pytest.mark.parametrize(("owners", "mean_share"), [(3, 0.0), (3, 0.35), (19, 0.35)])
def test_private_bins_are_those_in_the_clear(engine, owners, mean_share):
    distances = drawn(5, owners, owners)
    expected = sorted_into(CLEAR, torch.from_numpy(distances), 8, mean_share)
    outcome = run(
        lambda parts, x: sorted_into(parts, x, 8, mean_share),
        as_words(torch.from_numpy(distances)),
        engine_type=engine,
    )
    assert (as_tensor(outcome.value) == expected).all()


@pytest.mark.parametrize("party", [0, 1])
def test_a_party_sees_nothing_of_scores_that_are_all_the_same(party):
    distances = np.tile(drawn(1, 3, 5), (704, 1))
    outcome = run(
        lambda engine, x: sorted_into(engine, x, 8, 0.35),
        as_words(torch.from_numpy(distances)),
        engine_type=FusedEngine,
    )
    view = outcome.views[party]
    received = [as_words(part).reshape(-1) for part in view.received]
    words = np.concatenate([part for part in received if not is_bits(part)])
    assert words.size > 10_000
    for shift in range(0, 64, 8):
        assert abs(chi_square(words, shift)) < SIGMAS
