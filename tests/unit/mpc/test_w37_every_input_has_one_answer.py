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
from parties.mpc.network import Distances
from parties.mpc.predict import Rule, decide, predict
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
            together = answers(spec, models(spec, owners), asked[-32:], one_subject=True)
            assert_one_name_or_none(together)


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


# The longest vectors that have words of 26 bits: 32 of them have a sum of squares that wraps.
LONG = preset("vector", size=1 << 10, components=2)


def wrapping(images: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Models on the second half of a vector, the first one with a mean of zeros; and images of a
    half of words 2^25, which keep their squares however they are widened, and of zeros. 32 such
    have |x|^2 = 2^64, and their distance to the first owner is 0 in the ring.
    """
    half = LONG.input_shape[0] // 2
    basis, mean = np.zeros((OWNERS, 2, 2 * half)), np.zeros((OWNERS, 2 * half))
    basis[:, 0, half] = basis[:, 1, half + 1] = 1
    for owner in range(1, OWNERS):
        mean[owner, half + 1 + owner] = 1
    thresholds = np.full((OWNERS, 1), 2.0**15 - 1)
    parameters = {"0.basis": basis, "0.mean": mean, "threshold": thresholds}
    asked = np.zeros((images, 2 * half), dtype=np.uint64)
    asked[:, :half] = 1 << (narrow.word_bits(LONG) - 1)
    return {name: encode(parameters[name]) for name in LONG.parameters()}, asked


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
def test_images_of_one_subject_whose_sum_wraps_around_are_answered_with_zeros(engine_type):
    parameters, asked = wrapping(32)
    rows = answers(LONG, parameters, asked, engine_type, one_subject=True)
    assert rows.tolist() == [[0] * OWNERS]


def test_without_parts_that_sum_would_have_named_somebody(monkeypatch):
    monkeypatch.setattr(narrow.Norms, "parts", lambda _, images: [(0, images)])
    parameters, asked = wrapping(32)
    assert answers(LONG, parameters, asked, one_subject=True).tolist() == [[1, 0, 0]]


def test_as_many_honest_images_of_one_subject_as_there_may_be_are_still_answered():
    parameters, _ = wrapping(32)
    honest = np.stack([parameters["0.mean"][1]] * 32)
    assert answers(LONG, parameters, honest, one_subject=True).tolist() == [[0, 1, 0]]


def test_parts_of_one_subject_take_no_round_more_than_a_whole():
    parameters, asked = wrapping(32)
    names = list(parameters)

    def program(engine, x, *stacked):
        shared = dict(zip(names, stacked, strict=True))
        return predict(engine, LONG, shared, x, Rule(margin=MARGIN, one_subject=True))

    rounds = {
        images: run(program, asked[:images], *parameters.values(), engine_type=FusedEngine)
        .sessions[0]
        .rounds
        for images in (3, 32)
    }
    assert narrow.norms(LONG).parts(3) == [(0, 3)] and len(narrow.norms(LONG).parts(32)) == 11
    assert rounds[3] == rounds[32]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_images_of_one_subject_are_named_unless_their_mean_keeps_to_the_bounds(data):
    unit = data.draw(st.booleans())
    spec = preset(
        "vector",
        size=data.draw(st.sampled_from([16, 512, 1 << 10, 1 << 14])),
        unit_length=unit,
        components=2,
    )
    wanted = narrow.norms(spec)
    most = spec.input_shape[0] * (3 << (narrow.word_bits(spec) - 2)) ** 2
    one = st.one_of(
        st.integers(0, most),
        st.sampled_from([0, most, most // 2, 1 << 59, 1 << 60, 1 << 61]),
        st.integers(wanted.least, wanted.bound),
    )
    images = st.one_of(
        st.lists(one, min_size=1, max_size=32), st.tuples(one, st.integers(1, 32)).map(repeated)
    )
    whole = [min(each, most) for each in data.draw(images)]
    # The first owner is right on them and the second far off, so the bounds alone decide.
    owners = torch.tensor([[0, 1 << 40]] * len(whole))
    found = Distances(owners, whole=torch.tensor(whole))
    thresholds = torch.tensor([[1 << 20], [1 << 20]])
    rule = Rule(margin=MARGIN, one_subject=True)
    row = decide(ClearEngine(), found, thresholds, rule, spec).tolist()
    mean_in_bounds = wanted.least * len(whole) <= sum(whole) < wanted.bound * len(whole)
    assert row in ([[1, 0]], [[0, 0]])
    assert mean_in_bounds or row == [[0, 0]]
    if all(wanted.least <= each < wanted.bound for each in whole):
        assert row == [[1, 0]]


def repeated(of: tuple[int, int]) -> list[int]:
    return [of[0]] * of[1]


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
