"""Whole queries with the fused engine agree with plaintext integers, and reveal nothing."""

import numpy as np
import pytest
import torch

from parties.mpc import products
from parties.mpc.decision import Decision
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from parties.mpc.predict import Rule, predict
from privedge_lab.reference.clear import ClearEngine
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import Outcome, as_tensor, as_words, run

CLEAR = ClearEngine()
MARGINS = dict(zip((spec.name for spec in SPECS), (1.0, 0.98, 0.95, 0.98, 0.98), strict=True))


def private(spec, owners, images, step) -> Outcome:
    parameters = cohort(spec, owners)
    names = list(parameters)

    def program(engine, x, *stacked):
        return step(engine, dict(zip(names, stacked, strict=True)), x)

    return run(program, images, *parameters.values(), engine_type=FusedEngine)


def clear(spec, owners) -> dict[str, torch.Tensor]:
    return {name: as_tensor(words) for name, words in cohort(spec, owners).items()}


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("owners", [1, 3])
def test_dissimilarities_are_close_to_the_clear_ones(spec, owners):
    images = batch(spec, 4)
    expected = Network(spec, clear(spec, owners), CLEAR).dissimilarity(as_tensor(images)).numpy()
    outcome = private(
        spec, owners, images, lambda engine, p, x: Network(spec, p, engine).dissimilarity(x)
    )
    assert (abs(outcome.value.view(np.int64) - expected) <= 2e-3 * expected).all()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("owners", [1, 5])
def test_answers_equal_the_clear_ones(spec, owners):
    images, rule = batch(spec, 12), Rule(margin=MARGINS[spec.name])
    expected = predict(CLEAR, spec, clear(spec, owners), as_tensor(images), rule).numpy()
    outcome = private(spec, owners, images, lambda engine, p, x: predict(engine, spec, p, x, rule))
    assert (outcome.value.view(np.int64) == expected).all()
    assert expected.any()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_weights_go_in_runs_of_owners_where_there_are_many(spec, monkeypatch):
    owners, images = 5, batch(spec, 2)
    weights = {name: words for name, words in cohort(spec, owners).items() if words.ndim > 2}
    largest = max(words[0].size for words in weights.values())
    # Two owners of the largest weight at once, then two, then one.
    monkeypatch.setattr(products, "RUN_WORDS", 2 * largest)
    expected = Network(spec, clear(spec, owners), CLEAR).dissimilarity(as_tensor(images)).numpy()
    outcome = private(
        spec, owners, images, lambda engine, p, x: Network(spec, p, engine).dissimilarity(x)
    )
    assert (abs(outcome.value.view(np.int64) - expected) <= 2e-3 * expected).all()
    (opened,) = [each for each in outcome.sessions[0].phases if each.name == "weights"]
    assert opened.rounds >= len(weights) + 2


@pytest.mark.parametrize("owners", [2, 17, 40])
def test_decisions_are_exact_up_to_the_largest_distances(owners):
    # One image's largest distance times the most images of one subject: 2^47 * 2^5.
    rng = np.random.default_rng(owners)
    distances = rng.integers(2**51, 2**52, size=(20, owners))
    thresholds = np.full(owners, 2**52 - 1)

    def program(engine, values, limits):
        return Decision(engine, margin=0.9).answer(values, limits)

    expected = Decision(CLEAR, margin=0.9).answer(
        torch.from_numpy(distances), torch.from_numpy(thresholds)
    )
    outcome = run(
        program, distances.view(np.uint64), thresholds.view(np.uint64), engine_type=FusedEngine
    )
    assert (outcome.value.view(np.int64) == expected.numpy()).all()


def test_rounds_do_not_grow_with_batch_or_owners():
    def rounds(owners, count):
        rule, spec = Rule(margin=1.0), SPECS[0]
        outcome = private(
            spec, owners, batch(spec, count), lambda e, p, x: predict(e, spec, p, x, rule)
        )
        return outcome.sessions[0].rounds

    assert rounds(2, 1) == rounds(16, 1) == rounds(16, 5)


def test_everything_received_in_a_query_is_uniform():
    spec = SPECS[0]
    outcome = private(
        spec, 3, batch(spec, 90), lambda e, p, x: predict(e, spec, p, x, Rule(margin=0.9))
    )
    for view in outcome.views:
        noise = np.concatenate([as_words(words) for words in view.received])
        assert noise.size > 100_000
        for shift in range(0, 64, 8):
            assert abs(chi_square(noise, shift)) < SIGMAS
