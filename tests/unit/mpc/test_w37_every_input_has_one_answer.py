"""W-36 and W-37: whatever words a client or an owner sends, a row names one owner or nobody, and an
owner whose words are out of range takes no honest answer away as a fault of the operators.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.decision import MARGIN_STEPS, Decision
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.predict import Rule, predict
from privedge.ran import narrow
from privedge.ran.presets import preset
from privedge.ran.spec import Dense, RanSpec, Relu
from privedge.sharing.fixed_point import encode
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import fresh_masks, run

RING = st.integers(-(2**63), 2**63 - 1)
UNIT = preset("vector", size=16, unit_length=True, components=2)
PLAIN = preset("vector", size=16, components=2)
LAYERED = RanSpec(
    name="relu",
    image=None,
    features=PLAIN.features,
    layers=(Dense(features=8), Relu(), Dense(features=16)),
)
MARGIN = 0.7
OWNERS = 3
# Each row is one hostile query.
ROWS = 250


def models(spec: RanSpec, owners: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Honest models, as words: a mean of length 1 and two directions."""
    rng = np.random.default_rng(seed)
    stacked = {name: [] for name in spec.parameters()}
    for _ in range(owners):
        for name, shape in spec.parameters().items():
            values = rng.normal(size=shape)
            if name == "0.mean":
                values /= np.linalg.norm(values)
            if name == "0.basis":
                values = np.linalg.qr(values.T)[0].T
            stacked[name].append(np.array([2.0**15 - 1]) if name == "threshold" else values)
    return {name: encode(np.stack(values)) for name, values in stacked.items()}


def answers(spec, parameters, queries, engine_type=FusedEngine, **rule) -> np.ndarray:
    """Rows, as signed integers. `queries`: words (n, 16)."""
    names = list(parameters)

    def program(engine, x, *stacked):
        shared = dict(zip(names, stacked, strict=True))
        return predict(engine, spec, shared, x, Rule(margin=MARGIN, **rule))

    secrets = (queries, *parameters.values())
    return run(program, *secrets, engine_type=engine_type).value.view(np.int64)


def assert_one_name_or_none(rows: np.ndarray) -> None:
    assert set(np.unique(rows)) <= {0, 1}
    assert rows.sum(axis=1).max() <= 1


def hostile(rng: np.random.Generator, honest: np.ndarray) -> Iterator[np.ndarray]:
    """Words of the ring; words near every power of two; honest ones, moved, stretched, cut."""
    shape = honest.shape
    yield rng.integers(0, 2**64, size=shape, dtype=np.uint64)
    power = np.uint64(1) << rng.integers(0, 64, size=shape, dtype=np.uint64)
    yield power + rng.integers(0, 3, size=shape, dtype=np.uint64) - np.uint64(1)
    yield honest * np.uint64(1 << int(rng.integers(1, 48)))
    yield np.where(rng.random(shape) < 0.1, power, honest)
    yield np.zeros(shape, dtype=np.uint64)


def queries(spec: RanSpec, seed: int, rows: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    honest = rng.normal(size=(rows, 16))
    honest /= np.linalg.norm(honest, axis=1, keepdims=True)
    return np.concatenate(list(hostile(rng, encode(honest))))


@pytest.mark.parametrize("spec", [UNIT, PLAIN, LAYERED], ids=["unit", "plain", "layers"])
@pytest.mark.parametrize(
    "rounds", [1, pytest.param(8, marks=pytest.mark.slow)], ids=["a sample", "ten thousand"]
)
def test_every_byte_string_is_a_query(spec, rounds):
    for seed in range(rounds):
        asked = queries(spec, seed, ROWS)
        for owners in (1, OWNERS, 20):
            rows = answers(spec, models(spec, owners), asked)
            assert_one_name_or_none(rows)
            if spec is UNIT:
                assert not rows[~valid(spec, asked)].any()


def valid(spec: RanSpec, asked: np.ndarray) -> np.ndarray:
    """Whether an input keeps to the bounds of its norm; bits above the words' do not count."""
    bits, bounds = narrow.word_bits(spec), narrow.norms(spec)
    words = asked.view(np.int64) << (64 - bits) >> (64 - bits)
    squares = np.square(words).sum(axis=1)
    return (squares >= bounds.least) & (squares < bounds.bound)


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
def test_an_input_out_of_range_is_answered_with_zeros_on_both_engines(engine_type):
    spec, parameters = UNIT, models(UNIT, OWNERS)
    mean = parameters["0.mean"]
    asked = np.concatenate([mean, mean * np.uint64(2), mean // np.uint64(2), mean])
    # The last one has a bit more than its words have, which is no part of them.
    asked[-OWNERS:, 0] += np.uint64(1 << 40)
    rows = answers(spec, parameters, asked, engine_type)
    one = np.eye(OWNERS, dtype=np.int64)
    zero = np.zeros_like(one)
    assert (rows == np.concatenate([one, zero, zero, one])).all()


def test_several_images_of_one_subject_are_valid_by_their_mean_norm():
    parameters = models(UNIT, OWNERS)
    mean = parameters["0.mean"][1]
    asked = np.stack([mean] * 4)
    assert answers(UNIT, parameters, asked, one_subject=True).tolist() == [[0, 1, 0]]
    asked[0] *= np.uint64(2)
    assert answers(UNIT, parameters, asked, one_subject=True).tolist() == [[0, 0, 0]]


def bad_owners(spec: RanSpec) -> dict[str, Callable[[dict, np.random.Generator], None]]:
    """What one owner does to its own model, which is the last one."""

    def ring(words: dict, rng: np.random.Generator) -> None:
        for tensor in words.values():
            tensor[-1] = rng.integers(0, 2**64, size=tensor[-1].shape, dtype=np.uint64)

    def stretched(words: dict, rng: np.random.Generator) -> None:
        words["0.basis"][-1] *= np.uint64(1 << int(rng.integers(1, 40)))

    def negative_threshold(words: dict, rng: np.random.Generator) -> None:
        words["threshold"][-1] = rng.integers(2**62, 2**64, dtype=np.uint64)

    def largest(words: dict, rng: np.random.Generator) -> None:
        words["0.mean"][-1] = np.uint64(2 ** (narrow.word_bits(spec) - 1) - 1)
        words["0.basis"][-1] = np.uint64(2 ** (narrow.word_bits(spec) - 1))

    return {"ring": ring, "stretched": stretched, "threshold": negative_threshold, "far": largest}


@pytest.mark.parametrize("spec", [UNIT, PLAIN], ids=["unit", "plain"])
@pytest.mark.parametrize("how", bad_owners(UNIT))
def test_w36_no_honest_query_ends_with_an_invalid_row_because_of_one_owner(spec, how):
    rng = np.random.default_rng(5)
    for seed in range(6):
        words = models(spec, 4, seed)
        honest = np.concatenate(
            [words["0.mean"][:3], queries(spec, seed, 8)[-8:] + words["0.mean"][0]]
        )
        bad_owners(spec)[how](words, rng)
        assert_one_name_or_none(answers(spec, words, honest))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_row_has_at_most_one_name_for_all_ring_elements(data):
    count = data.draw(st.integers(1, 6))
    slack = data.draw(st.integers(0, 2**28))
    near = st.one_of(
        RING, st.integers(-3 * slack - 3, 3 * slack + 3), st.sampled_from([2**52, -(2**52)])
    )
    distances = data.draw(
        st.lists(st.lists(near, min_size=count, max_size=count), min_size=1, max_size=4)
    )
    limits = data.draw(st.lists(RING, min_size=count, max_size=count))
    steps = data.draw(st.integers(1, MARGIN_STEPS))
    decision = Decision(ClearEngine(), margin=steps / MARGIN_STEPS, slack=slack)
    rows = decision.answer(torch.tensor(distances), torch.tensor(limits))
    assert_one_name_or_none(rows.numpy())


def test_distances_that_rounding_brought_below_zero_still_name_their_owner():
    slack = 1 << 20
    limits = torch.full((3,), 2**46)
    decision = Decision(ClearEngine(), margin=MARGIN, slack=slack)
    distances = torch.tensor(
        [[-slack, 2**40, 2**41], [2**40, 2**41, -slack - 1], [2**40, 2**52, 2**41]]
    )
    assert decision.answer(distances, limits).tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_the_widened_words_of_a_model_are_made_once():
    parameters = models(UNIT, OWNERS)
    names, masked = list(parameters), fresh_masks()

    def program(engine, x, *stacked):
        return predict(engine, UNIT, dict(zip(names, stacked, strict=True)), x, Rule(margin=MARGIN))

    rounds = []
    for _ in range(2):
        asked = run(
            program,
            parameters["0.mean"],
            *parameters.values(),
            engine_type=FusedEngine,
            masked=masked,
        )
        rounds.append({phase.name: phase.rounds for phase in asked.sessions[0].phases})
        assert (asked.value == np.eye(OWNERS, dtype=np.uint64)).all()
    assert "weights" in rounds[0] and "weights" not in rounds[1]
    assert rounds[1] == {"network": 3, "decision": 5}
