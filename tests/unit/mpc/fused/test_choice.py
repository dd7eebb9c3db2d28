"""The choice of small secret numbers: exact, in one round, and every opening is uniform."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused.engine import FusedEngine
from privedge_lab.reference.clear import ClearEngine
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.pair import Outcome, as_tensor, as_words, run

DIGEST_BYTES = 16
ENGINES = [FusedEngine, CryptenEngine]


def chosen(index: np.ndarray, values: np.ndarray, engine_type=FusedEngine, **sizes) -> Outcome:
    """[index = k] in the first column, then its products with values."""

    def program(engine, x, y):
        hot, products = engine.chosen(x, y, **sizes)
        return engine.joined([hot.unsqueeze(2), products], 2)

    return run(program, index.view(np.uint64), values.view(np.uint64), engine_type=engine_type)


def expected(index: np.ndarray, values: np.ndarray, **sizes) -> np.ndarray:
    hot, products = ClearEngine().chosen(torch.tensor(index), as_tensor(values), **sizes)
    return torch.cat([hot.unsqueeze(2), products], 2).numpy()


@pytest.mark.parametrize("engine_type", ENGINES)
@settings(max_examples=15, deadline=None)
@given(
    below=st.integers(1, 128),
    count=st.integers(1, 70),
    width=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
def test_choices_and_their_products_are_exact_in_the_ring(engine_type, below, count, width, seed):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, below, size=count)
    values = rng.integers(-(2**63), 2**63 - 1, size=(count, width))
    sizes = {"below": below, "places": min(below, 3)}
    outcome = chosen(index, values, engine_type, **sizes)
    assert (outcome.value.view(np.int64) == expected(index, values, **sizes)).all()


def test_a_choice_takes_one_round_and_eight_bytes_for_each_index_and_value():
    outcome = chosen(np.arange(16), np.ones((16, 5), dtype=np.int64), below=16, places=2)
    for session in outcome.sessions:
        assert (session.rounds, session.bytes_sent) == (1, 8 * 16 * (1 + 5) + DIGEST_BYTES)


@pytest.mark.parametrize("index", [0, 1, 15])
def test_what_is_received_and_what_is_opened_are_uniform(index):
    count = 100_000
    values = np.full((count, 1), 3)
    view = chosen(np.full(count, index), values, below=16, places=2).views[1]
    for words in (view.received[0], view.sent[0] + view.received[0]):
        for shift in range(0, 64, 8):
            assert abs(chi_square(as_words(words), shift)) < SIGMAS
