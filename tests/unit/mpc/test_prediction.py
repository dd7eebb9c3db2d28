"""The private forward pass and decision agree with the same formulas on plaintext integers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parties.mpc.decision import Decision
from parties.mpc.network import Network
from parties.mpc.predict import Rule, predict
from privedge.errors import ShareError
from privedge.sharing.fixed_point import encode
from privedge_lab.reference.clear import ClearEngine
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import as_tensor, run

CLEAR = ClearEngine()
NEVER_TOO_FAR = torch.full((64,), 2**46)


def clear_distances(spec, parameters, images):
    stacked = {name: as_tensor(words) for name, words in parameters.items()}
    return Network(spec, stacked, CLEAR).dissimilarity(as_tensor(images))


def private(spec, parameters, images, step):
    names = list(parameters)

    def program(engine, x, *stacked):
        return step(engine, dict(zip(names, stacked, strict=True)), x)

    return run(program, images, *parameters.values())


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("owners", [1, 3])
def test_private_dissimilarities_are_close_to_the_clear_ones(spec, owners):
    parameters, images = cohort(spec, owners), batch(spec, 4)
    expected = clear_distances(spec, parameters, images).numpy()
    outcome = private(
        spec, parameters, images, lambda engine, p, x: Network(spec, p, engine).dissimilarity(x)
    )
    got = outcome.value.view(np.int64)
    assert got.shape == (4, owners)
    assert (abs(got - expected) <= 2e-3 * expected).all()


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_rounds_of_a_forward_pass_do_not_grow_with_batch_or_owners(spec):
    def rounds(owners, count):
        outcome = private(
            spec,
            cohort(spec, owners),
            batch(spec, count),
            lambda engine, p, x: Network(spec, p, engine).dissimilarity(x),
        )
        return outcome.sessions[0].rounds

    assert rounds(1, 1) == rounds(5, 1) == rounds(5, 6)


def test_private_answers_equal_clear_ones():
    spec = SPECS[1]
    parameters, images = cohort(spec, 4), batch(spec, 12)
    rule = Rule(margin=0.98)
    stacked = {name: as_tensor(words) for name, words in parameters.items()}
    expected = predict(CLEAR, spec, stacked, as_tensor(images), rule).numpy()
    outcome = private(
        spec, parameters, images, lambda engine, p, x: predict(engine, spec, p, x, rule)
    )
    assert (outcome.value.view(np.int64) == expected).all()
    assert 0 < expected.sum() < 12  # some known, some unknown: both ways are tried


def test_the_closed_form_of_a_subspace_is_the_error_of_its_reconstruction():
    spec, rng = SPECS[2], np.random.default_rng(5)
    components, size = spec.parameters()["0.basis"]
    bases = np.linalg.qr(rng.normal(size=(3, size, components)))[0].transpose(0, 2, 1)
    means, image = rng.normal(size=(3, size)) / 4, rng.uniform(-1, 1, size=size)
    parameters = {
        "0.basis": encode(bases),
        "0.mean": encode(means),
        "threshold": encode(np.full((3, 1), 30000.0)),
    }
    got = clear_distances(spec, parameters, encode(image.reshape(1, *spec.input_shape)))[0]
    for owner in range(3):
        gap = image - means[owner]
        error = gap - bases[owner].T @ (bases[owner] @ gap)
        assert abs(got[owner].item() / 2**32 - error @ error) < 1e-3


def test_verify_opens_the_one_bit_of_the_named_owner():
    spec = SPECS[2]
    parameters, images = cohort(spec, 3), batch(spec, 6)
    stacked = {name: as_tensor(words) for name, words in parameters.items()}
    rows = predict(CLEAR, spec, stacked, as_tensor(images), Rule(margin=1.0)).numpy()
    outcome = private(
        spec,
        parameters,
        images,
        lambda engine, p, x: predict(engine, spec, p, x, Rule(margin=1.0, verify_position=1)),
    )
    assert outcome.value.shape == (6, 1)
    assert (outcome.value.view(np.int64)[:, 0] == rows[:, 1]).all()


def test_images_of_one_subject_are_summed_before_the_decision():
    spec = SPECS[2]
    parameters, images = cohort(spec, 3), batch(spec, 5)
    distances = clear_distances(spec, parameters, images).sum(0)
    outcome = private(
        spec,
        parameters,
        images,
        lambda engine, p, x: predict(engine, spec, p, x, Rule(margin=1.0, one_subject=True)),
    )
    assert outcome.value.shape == (1, 3)
    assert outcome.value[0].argmax() == distances.argmin()


def test_more_images_of_one_subject_than_the_ring_holds_are_refused():
    spec = SPECS[2]
    stacked = {name: as_tensor(words) for name, words in cohort(spec, 2).items()}
    with pytest.raises(ShareError, match="at most 32"):
        predict(
            CLEAR, spec, stacked, as_tensor(batch(spec, 33)), Rule(margin=1.0, one_subject=True)
        )


def decided(distances, margin=1.0, thresholds=None):
    values = torch.tensor(distances, dtype=torch.int64).reshape(1, -1)
    bounds = NEVER_TOO_FAR if thresholds is None else torch.tensor(thresholds)
    answer = Decision(CLEAR, margin=margin).answer(values, bounds[: values.size(1)].clone())
    return answer[0].tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 2**44), min_size=2, max_size=60, unique=True))
def test_the_least_dissimilar_owner_wins(distances):
    answer = decided(distances)
    assert answer.index(1) == distances.index(min(distances))
    assert sum(answer) == 1


@pytest.mark.parametrize("owners", [2, 15, 16, 17, 33, 256, 257, 1000])
def test_tournaments_of_any_size_find_the_best_and_the_second(owners):
    rng = np.random.default_rng(owners)
    values = rng.permutation(owners) + 1000
    won = (values == 1000).astype(int).tolist()
    limits = [2000] * owners
    # 1,000 / 1,001 lies between these margins: the one step tells that 1,001 was compared.
    assert decided(values.tolist(), margin=1023 / 1024, thresholds=limits) == won
    assert not any(decided(values.tolist(), margin=1022 / 1024, thresholds=limits))
    limits[won.index(1)] = 1000
    assert not any(decided(values.tolist(), thresholds=limits))


@pytest.mark.parametrize("owners", [2, 15, 16, 17, 40, 257])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_a_tie_for_the_least_has_no_answer(owners, data):
    distances = data.draw(st.lists(st.integers(8, 20), min_size=owners, max_size=owners))
    tied = data.draw(st.sets(st.integers(0, owners - 1), min_size=2, max_size=4))
    for owner in tied:
        distances[owner] = 7
    assert not any(decided(distances, thresholds=[1000] * owners))


@pytest.mark.parametrize("margin", [0.0, -0.5, 1.001, float("nan")])
def test_a_margin_that_more_than_one_owner_could_pass_is_refused(margin):
    with pytest.raises(ShareError, match="margin"):
        Decision(CLEAR, margin=margin)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**44), st.integers(1, 2**44), st.sampled_from([0.25, 0.5, 0.875]))
def test_the_margin_decides_who_is_known(best, gap, margin):
    answer = decided([best + gap, best], margin=margin)
    assert answer == ([0, 1] if best < margin * (best + gap) else [0, 0])


def test_an_owner_threshold_makes_its_own_images_unknown_when_they_are_too_far():
    assert decided([10, 500], thresholds=[11, 1]) == [1, 0]
    assert decided([10, 500], thresholds=[10, 1000]) == [0, 0]


def test_a_cohort_of_one_answers_by_threshold_alone():
    assert decided([10], thresholds=[11]) == [1]
    assert decided([10], thresholds=[10]) == [0]
