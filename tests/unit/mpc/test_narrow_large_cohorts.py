"""Cohorts that are narrowed down by narrow comparisons and by pairs: the answers of all at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.decision import MARGIN_STEPS, Decision
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.fused.pairs import Pair
from parties.mpc.fused.tuples import NIBBLES, Comparison
from parties.mpc.planning import planned
from parties.mpc.predict import Rule, predict
from parties.mpc.schedule import FEW, MOST_PAIRS, Levels, Schedule, schedule
from privedge.ran import narrow
from privedge.ran.presets import preset
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.pair import run
from tests.unit.mpc.test_w37_every_input_has_one_answer import (
    MARGIN,
    PLAIN,
    UNIT,
    answers,
    assert_one_name_or_none,
    bad_owners,
    models,
)

ONE = 1 << 32
# Between which distances of unit vectors lie, and a plan for few owners with everything in it.
BETWEEN = narrow.distances(UNIT, 1)
COUNTS = [2, 15, 16, 17, 40, 257, 1000]


class Wrapping(ClearEngine):
    """Clear, but a comparison of few bits sees the low bits alone, as a private one does."""

    def negative(self, x: torch.Tensor, *, bits: int = 63) -> torch.Tensor:
        return x >> bits & 1

    def lesser(self, first, second, *, bits):
        later = self.negative(second[:, 0] - first[:, 0], bits=bits)
        row = first + later.unsqueeze(1) * (second - first)
        return row, first[:, 0] + second[:, 0] - row[:, 0], later


def words(values: object) -> np.ndarray:
    return np.array(values, dtype=np.int64).view(np.uint64)


def drawn(owners: int, rows: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Distances in range, of which some are ties and one is far below the others; and limits."""
    rng = np.random.default_rng(owners)
    distances = rng.integers(ONE // 4, 3 * ONE, (rows, owners))
    distances[0, owners // 2] = ONE // 8
    distances[1, :2] = ONE // 9
    distances[2, -1] = 0
    return distances, rng.integers(ONE // 10, 4 * ONE, owners)


@pytest.mark.parametrize("owners", COUNTS)
@pytest.mark.parametrize("pairs", [0, 1, 3])
def test_levels_of_pairs_and_narrow_words_change_no_answer(owners, pairs):
    if pairs and Schedule(owners, pairs).blocks < 2:
        pairs = 0
    distances, limits = drawn(owners)

    def program(engine, values, bounds, between=BETWEEN, pairs=pairs):
        levels = Levels(between, Schedule(owners, pairs))
        decision = Decision(engine, margin=MARGIN, levels=levels)
        return decision.answer(values, bounds)

    clear = torch.tensor(distances), torch.tensor(limits)
    plainly = program(ClearEngine(), *clear, None, 0)
    assert torch.equal(program(Wrapping(), *clear), plainly)
    outcome = run(program, words(distances), words(limits), engine_type=FusedEngine)
    assert (outcome.value.view(np.int64) == plainly.numpy()).all()
    assert plainly[2, -1] == (limits[-1] > 0)
    if owners > 16:
        assert outcome.sessions[0].rounds == Schedule(owners, pairs).rounds


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_blocks_give_the_answers_of_all_at_once(data):
    owners = data.draw(st.integers(2, 700))
    pairs = data.draw(st.integers(1, MOST_PAIRS))
    seed, steps = data.draw(st.integers(0, 2**32)), data.draw(st.integers(1, MARGIN_STEPS))
    rng = np.random.default_rng(seed)
    highest = data.draw(st.sampled_from([3, ONE // 2, 4 * ONE]))
    distances = torch.tensor(rng.integers(0, highest, (3, owners)))
    limits = torch.tensor(rng.integers(1, highest + 1, owners))
    rivals = torch.tensor(rng.integers(0, 4 * ONE, (3, 2)))
    public = data.draw(st.integers(0, 2))

    def rows(pairs: int, between=BETWEEN) -> torch.Tensor:
        decision = Decision(
            Wrapping(),
            margin=steps / MARGIN_STEPS,
            public_owners=public,
            levels=Levels(between, Schedule(owners, pairs)),
        )
        return decision.answer(distances, limits, rivals)

    assert torch.equal(rows(pairs), rows(0, None))


RING = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_distance_out_of_range_wins_and_a_row_has_one_name_at_most(data):
    """Owners whose distance wraps around in the bits that levels compare."""
    owners, pairs = data.draw(st.integers(17, 120)), data.draw(st.integers(0, 2))
    distances, _ = drawn(owners)
    least, most = BETWEEN
    wrapped = st.builds(
        lambda times, rest: (times << 40) + rest, st.integers(-4, 4), st.integers(least, most)
    )
    crafted = data.draw(
        st.dictionaries(st.integers(0, owners - 1), st.one_of(RING, wrapped), max_size=owners)
    )
    for at, value in crafted.items():
        distances[:, at] = value
    levels = Levels(BETWEEN, Schedule(owners, pairs))
    decision = Decision(Wrapping(), margin=MARGIN, slack=-least, levels=levels)
    rows = decision.answer(torch.tensor(distances), torch.tensor(np.full(owners, 1 << 62))).numpy()
    assert_one_name_or_none(rows)
    assert ((distances >= least) & (distances < most))[rows == 1].all()


@pytest.mark.parametrize("spec", [UNIT, PLAIN], ids=["unit", "plain"])
@pytest.mark.parametrize("how", bad_owners(UNIT))
def test_one_owner_of_a_cohort_with_levels_wins_nothing_by_wrapping_around(spec, how, monkeypatch):
    monkeypatch.setattr("parties.mpc.decision.schedule", lambda owners: Schedule(owners, 1))
    rng = np.random.default_rng(6)
    words = models(spec, 40)
    honest = words["0.mean"][:20].copy()
    assert (answers(spec, words, honest)[:, :20] == np.eye(20)).all()
    bad_owners(spec)[how](words, rng)
    rows = answers(spec, words, honest)
    assert_one_name_or_none(rows)
    assert not rows[:, -1].any()


@pytest.mark.parametrize("spec", [UNIT, PLAIN], ids=["unit", "plain"])
def test_an_input_out_of_range_is_answered_with_zeros_by_a_cohort_with_levels(spec, monkeypatch):
    monkeypatch.setattr("parties.mpc.decision.schedule", lambda owners: Schedule(owners, 1))
    words = models(spec, 40)
    rng = np.random.default_rng(7)
    hostile = rng.integers(0, 2**64, (60, *spec.input_shape), dtype=np.uint64)
    hostile[::2] = words["0.mean"][:30] << np.uint64(4 if spec is UNIT else 8)
    assert not answers(spec, words, hostile).any()


@pytest.mark.parametrize("images", [1, 2, 26, 27, 32])
@pytest.mark.parametrize("spec", [UNIT, PLAIN], ids=["unit", "plain"])
def test_what_valid_inputs_and_sound_models_give_is_in_the_range_that_is_claimed(spec, images):
    rng = np.random.default_rng(images)
    least, most = narrow.distances(spec, images)
    wanted = narrow.norms(spec)
    reach, mean = (wanted.bound / ONE) ** 0.5, (17 / 16 if spec is UNIT else 2**13) ** 0.5
    direction = rng.normal(size=16)
    direction /= np.linalg.norm(direction)
    farthest = images * (reach + mean) ** 2 * ONE
    assert least <= -farthest / 8 - images * wanted.slack and farthest <= most
    # Rows as long as the model check lets them be.
    assert (1 + 1 / 16 + 1 / 32) <= 1 + 1 / 8


def test_the_bits_that_levels_compare_are_those_of_the_page():
    def bits(spec, images=1) -> int:
        least, most = narrow.distances(spec, images)
        return next(bits for bits in NIBBLES if most - least < 1 << bits)

    assert [bits(UNIT), bits(UNIT, 26), bits(UNIT, 27), bits(PLAIN), bits(PLAIN, 2)] == [
        39,
        39,
        48,
        48,
        63,
    ]
    layered = preset("ran32", height=32, width=32, channels=1)
    assert narrow.distances(layered, 1) is None


def test_schedules_are_those_of_the_page():
    assert [schedule(owners).pairs for owners in (1, 40, FEW - 1)] == [0, 0, 0]
    assert [schedule(owners).pairs for owners in (FEW, 10_000, 100_000)] == [3, 6, 7]


def test_a_cohort_of_2500_is_answered_as_in_the_clear_at_the_planned_cost():
    spec = preset("vector", size=16, unit_length=True, components=1)
    words = models(spec, 2500)
    asked = words["0.mean"][[0, 1249, 2499]]
    names = list(words)

    def program(engine, x, *stacked):
        return predict(engine, spec, dict(zip(names, stacked, strict=True)), x, Rule(MARGIN))

    outcome = run(program, asked, *words.values(), engine_type=FusedEngine)
    assert (outcome.value == np.eye(2500, dtype=np.uint64)[[0, 1249, 2499]]).all()

    def on_zeros(engine):
        shares = [torch.zeros(each.shape, dtype=torch.int64) for each in (asked, *words.values())]
        return program(engine, *map(engine.share, shares))

    first, _ = planned(on_zeros)
    used = outcome.sessions[0].tuples.used
    assert used == first
    plan = schedule(2500)
    assert [kind for kind in used if isinstance(kind, Pair)] == [
        Pair((3 * plan.blocks << level,), 39, 1 + (level < plan.pairs - 1) + plan.pairs - 1 - level)
        for level in reversed(range(plan.pairs))
    ]
    narrow_ones = [kind.bits for kind in used if isinstance(kind, Comparison)]
    assert narrow_ones[:-1] == [39] * (len(narrow_ones) - 1) and narrow_ones[-1] == 63
    (phase,) = [each for each in outcome.sessions[0].phases if each.name == "decision"]
    assert phase.rounds == plan.rounds
