"""Queries with public rivals: private answers are those of plaintext; nothing more is opened."""

import numpy as np
import pytest
import torch

from parties.mpc.crypten_backend.engine import CryptenEngine
from parties.mpc.fused.engine import FusedEngine
from parties.mpc.network import Network
from parties.mpc.predict import Rule, predict
from privedge.ran.rivals import Rivals
from privedge.sharing.fixed_point import decode
from privedge_lab.reference.clear import ClearEngine
from tests.chance import SIGMAS, chi_square
from tests.unit.mpc.models import SPECS, batch, cohort
from tests.unit.mpc.pair import as_tensor, as_words, run

CLEAR = ClearEngine()
SUBSPACE = SPECS[2]


def public(spec, count: int, *, seed: int = 3) -> Rivals:
    """Half of them near the images that are asked, so that some images lose to them."""
    rng = np.random.default_rng(seed)
    images = decode(batch(spec, count)).reshape(count, *spec.input_shape)
    rows = images + rng.normal(size=images.shape) * np.resize([0.1, 1.0], count).reshape(
        -1, *[1] * len(spec.input_shape)
    )
    return Rivals.of(rows.astype(np.float32), spec.input_shape)


def in_the_clear(spec, parameters, images, rule):
    stacked = {name: as_tensor(words) for name, words in parameters.items()}
    return predict(CLEAR, spec, stacked, as_tensor(images), rule).numpy()


def asked(spec, parameters, images, rule, engine_type=FusedEngine):
    names = list(parameters)

    def program(engine, x, *stacked):
        return predict(engine, spec, dict(zip(names, stacked, strict=True)), x, rule)

    return run(program, images, *parameters.values(), engine_type=engine_type)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("count", [1, 20])
def test_the_dissimilarity_to_a_rival_is_exact(spec, count):
    rivals, images = public(spec, count), batch(spec, 4)
    parameters, words = cohort(spec, 2), torch.from_numpy(rivals.words)
    names = list(parameters)

    def program(engine, x, *stacked):
        network = Network(spec, dict(zip(names, stacked, strict=True)), engine)
        return network.distances(x, words).rivals

    outcome = run(program, images, *parameters.values(), engine_type=FusedEngine)
    given = images.view(np.int64).reshape(4, 1, -1)
    expected = np.square(given - rivals.words[None]).sum(2)
    assert (outcome.value.view(np.int64) == expected).all()


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
@pytest.mark.parametrize("spec", SPECS[:3], ids=lambda spec: spec.name)
@pytest.mark.parametrize(("owners", "count"), [(1, 1), (1, 20), (5, 20)])
def test_answers_equal_the_clear_ones(spec, owners, count, engine_type):
    parameters, images = cohort(spec, owners), batch(spec, 12)
    rule = Rule(margin=0.98, rivals=public(spec, count))
    expected = in_the_clear(spec, parameters, images, rule)
    outcome = asked(spec, parameters, images, rule, engine_type)
    assert (outcome.value.view(np.int64) == expected).all()
    without = in_the_clear(spec, parameters, images, Rule(margin=0.98))
    assert (expected <= without).all()  # a rival makes nobody known


@pytest.mark.parametrize("owners", [17, 40])
def test_answers_of_a_tournament_equal_the_clear_ones(owners):
    parameters, images = cohort(SUBSPACE, owners), batch(SUBSPACE, 12)
    rule = Rule(margin=0.999, rivals=public(SUBSPACE, 20))
    expected = in_the_clear(SUBSPACE, parameters, images, rule)
    without = in_the_clear(SUBSPACE, parameters, images, Rule(margin=0.999))
    assert without.sum() > expected.sum()
    outcome = asked(SUBSPACE, parameters, images, rule)
    assert (outcome.value.view(np.int64) == expected).all()


def test_one_owner_is_named_for_own_images_and_not_for_strangers():
    # Own images lie near the owner's mean; strangers are as far from it as from the rivals.
    rng = np.random.default_rng(0)
    spec, count = SUBSPACE, 16
    parameters = cohort(spec, 1)
    mean = decode(parameters["0.mean"]).reshape(1, -1)
    unlike = rng.normal(size=(2 * count, mean.size)) / np.sqrt(mean.size)
    images = np.concatenate([np.repeat(mean, count, 0) + unlike[:count] / 10, unlike[count:]])
    rivals = Rivals.of(
        (rng.normal(size=(20, *spec.input_shape)) / np.sqrt(mean.size)).astype(np.float32),
        spec.input_shape,
    )
    words = np.rint(images * 2**16).astype(np.int64).view(np.uint64)
    words = words.reshape(-1, *spec.input_shape)

    def named(rule: Rule) -> np.ndarray:
        return asked(spec, parameters, words, rule).value[:, 0]

    assert named(Rule(margin=0.7)).tolist() == [1] * 2 * count  # a cohort of one, without rivals
    assert named(Rule(margin=0.7, rivals=rivals)).tolist() == [1] * count + [0] * count


def test_images_of_one_subject_are_summed_for_rivals_too():
    parameters, images = cohort(SUBSPACE, 3), batch(SUBSPACE, 32)
    for count in (2, 32):
        rule = Rule(margin=0.99, one_subject=True, rivals=public(SUBSPACE, 2, seed=9))
        expected = in_the_clear(SUBSPACE, parameters, images[:count], rule)
        outcome = asked(SUBSPACE, parameters, images[:count], rule)
        assert (outcome.value.view(np.int64) == expected).all()


def opened_in(outcome) -> list[torch.Tensor]:
    """What additive openings reveal to both parties."""
    seen = outcome.views[0]
    return [
        mine.reshape(-1) + theirs.reshape(-1)
        for mine, theirs in zip(seen.sent, seen.received, strict=True)
    ]


def facts(outcome) -> list[tuple[int, int, list[str]]]:
    return [
        (session.rounds, session.bytes_sent, [kind.purpose for kind, _ in view.tuples])
        for session, view in zip(outcome.sessions, outcome.views, strict=True)
    ]


def test_rivals_add_no_round_and_open_nothing_but_masked_words():
    parameters, images = cohort(SUBSPACE, 5), batch(SUBSPACE, 64)
    without = asked(SUBSPACE, parameters, images, Rule(margin=0.9))
    rivals = public(SUBSPACE, 20)
    with_rivals = asked(SUBSPACE, parameters, images, Rule(margin=0.9, rivals=rivals))
    (rounds, sent, kinds), (more_rounds, more_sent, more_kinds) = (
        facts(each)[0] for each in (without, with_rivals)
    )
    assert more_rounds == rounds and more_sent > sent
    # The same steps, in the same order: only the last comparison and choice are wider.
    names = [[kind.split()[0] for kind in each] for each in (kinds, more_kinds)]
    assert names[0] == names[1]
    differing = [one for one, other in zip(kinds, more_kinds, strict=True) if one != other]
    assert [kind.split()[0] for kind in differing] == ["comparison", "choice"]
    # What is opened is uniform, and no opened word is one of the rivals' distances.
    opened = np.concatenate([as_words(words) for words in opened_in(with_rivals)])
    clear = np.square(images.view(np.int64).reshape(64, 1, -1) - rivals.words[None]).sum(2)
    assert not set(opened.tolist()) & set(clear.view(np.uint64).reshape(-1).tolist())


def test_what_is_opened_with_rivals_is_uniform():
    rule = Rule(margin=0.9, rivals=public(SUBSPACE, 20))
    outcome = asked(SUBSPACE, cohort(SUBSPACE, 5), batch(SUBSPACE, 64), rule)
    # What 5 owners are compared with: 4 others, 20 rivals, a threshold, and both ends of the range;
    # and the norm of each image with its bound.
    size = 64 * (5 * 27 + 1)
    (compared,) = (words for words in opened_in(outcome) if words.numel() == size)
    for shift in range(0, 64, 8):
        assert abs(chi_square(as_words(compared), shift)) < SIGMAS
