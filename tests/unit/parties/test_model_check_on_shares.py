"""The check of a new model on shares: what it refuses, what it takes, and what it costs.

W-36 and W-39: words outside every range, and a model that fits nothing, must not become active.
"""

from dataclasses import dataclass

import numpy as np
import pytest

from parties.mpc.crypten_backend.engine import CryptenEngine, ProgramEngine
from parties.mpc.fused.engine import FusedEngine
from parties.worker.model_check import refused
from privedge.ran.feature_kinds import Vector
from privedge.ran.model_bounds import Band, ProbeBounds, gram_slack
from privedge.ran.narrow import word_bits
from privedge.ran.spec import RanSpec, Subspace
from privedge.sharing.fixed_point import encode
from privedge.sharing.ring import Words
from tests.unit.mpc.models import SPECS, cohort
from tests.unit.mpc.pair import Outcome, run

SIZE, COMPONENTS, PROBES = 24, 4, 40
SPEC = RanSpec(
    name="vector",
    image=None,
    features=Vector(size=SIZE, unit_length=True),
    layers=(Subspace(components=COMPONENTS),),
)
SLACK = gram_slack(COMPONENTS)
BITS = word_bits(SPEC)


@dataclass(frozen=True)
class Made:
    """A model in real numbers: basis (k, D), mean (D,), threshold."""

    basis: np.ndarray
    mean: np.ndarray
    threshold: float = 2.0

    def words(self) -> dict[str, Words]:
        return {
            "0.basis": encode(self.basis[None]),
            "0.mean": encode(self.mean[None]),
            "threshold": encode(np.array([[self.threshold]])),
        }

    def errors(self, probes: np.ndarray) -> np.ndarray:
        around = probes - self.mean
        kept = around @ self.basis.T
        return np.square(around).sum(1) - np.square(kept).sum(1)

    def error(self, probes: np.ndarray) -> float:
        return float(self.errors(probes).mean())


def honest(seed: int = 1) -> Made:
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.normal(size=(SIZE, COMPONENTS)))[0].T
    mean = rng.normal(size=SIZE)
    return Made(basis, 0.7 * mean / np.linalg.norm(mean))


@pytest.fixture(scope="module")
def probes() -> np.ndarray:
    rows = np.random.default_rng(2).normal(size=(PROBES, SIZE))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def band(probes) -> Band:
    usual = np.median([honest(seed).error(probes) for seed in range(20)])
    return Band(0.8 * usual, 1.25 * usual)


def checked(
    parameters: dict[str, Words],
    probes: np.ndarray | None,
    band: Band | ProbeBounds | None,
    spec: RanSpec = SPEC,
    engine_type: type[ProgramEngine] = FusedEngine,
) -> Outcome:
    names = list(parameters)
    given = np.zeros((1, *spec.input_shape)) if probes is None else probes
    rows = encode(given.reshape(-1, *spec.input_shape))
    # A band alone: no model wins anything.
    bounds = ProbeBounds(band, (0.0,) * len(rows), 0) if isinstance(band, Band) else band

    def program(engine, x, *stacked):
        return refused(engine, spec, dict(zip(names, stacked, strict=True)), x, bounds)

    return run(program, rows, *parameters.values(), engine_type=engine_type)


def bit(*args, **kwargs) -> int:
    value = checked(*args, **kwargs).value
    assert value.shape == (1, 1)
    return int(value[0, 0])


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
def test_honest_models_are_taken(probes, band, engine_type):
    for seed in range(5):
        assert bit(honest(seed).words(), probes, band, engine_type=engine_type) == 0


def test_rows_of_zeros_are_taken_for_they_only_lessen_what_is_subtracted(probes, band):
    model = honest()
    fewer = Made(model.basis * np.array([1, 1, 1, 0])[:, None], model.mean)
    assert bit(fewer.words(), probes, band) == 0
    assert bit(fewer.words(), None, None) == 0


def _scaled_rows(factor: float) -> Made:
    return Made(honest().basis * factor, honest().mean)


BAD = {
    "rows 1.3 times too long": _scaled_rows(1.3),
    "rows 8 times too long": _scaled_rows(8),
    "one row just too long": Made(
        honest().basis * np.array([np.sqrt(1 + 1.1 * SLACK), 1, 1, 1])[:, None], honest().mean
    ),
    "two equal rows": Made(honest().basis[[0, 0, 1, 2]], honest().mean),
    "two opposite rows": Made(
        honest().basis[[0, 0, 1, 2]] * np.array([1, -1, 1, 1])[:, None], honest().mean
    ),
    "a mean too long": Made(honest().basis, honest().mean * 1.5),
    "far": Made(honest().basis, np.full(SIZE, 7.9)),
    "threshold zero": Made(honest().basis, honest().mean, 0.0),
    "negative threshold": Made(honest().basis, honest().mean, -1.0),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_out_of_bounds_is_refused_without_any_probe(name):
    assert bit(BAD[name].words(), None, None) == 1


def _changed(name: str, words: np.ndarray) -> dict[str, Words]:
    parameters = honest().words()
    flat = parameters[name].reshape(-1).copy()
    flat[: len(words)] = words.astype(np.int64).view(np.uint64)
    return {**parameters, name: flat.reshape(parameters[name].shape)}


def _random(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(-(1 << 63), (1 << 63) - 1, count)


WRAPPING = {
    "random words in the basis": ("0.basis", _random(SIZE * COMPONENTS)),
    "random words in the mean": ("0.mean", _random(SIZE)),
    "a word that another widening may change": ("0.mean", np.array([1 << (BITS - 2)])),
    "its negative": ("0.mean", np.array([-(1 << (BITS - 2)) - 1])),
    "the most negative narrow word": ("0.basis", np.array([-(1 << (BITS - 1))])),
    "a threshold of 2^15": ("threshold", np.array([1 << 31])),
    "the largest threshold": ("threshold", np.array([(1 << 63) - 1])),
    "the most negative threshold": ("threshold", np.array([-(1 << 63)])),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPING)
def test_w36_words_outside_the_ranges_are_refused(name):
    assert bit(_changed(*WRAPPING[name]), None, None) == 1


def test_of_a_word_only_the_low_bits_count():
    assert bit(_changed("0.mean", np.array([1 << 32, -(1 << 63)])), None, None) == 0


def test_the_band_refuses_what_is_too_good_and_what_is_too_bad(probes, band):
    model = honest()
    everything = np.linalg.svd(probes - probes.mean(0))[2]
    pooled = Made(everything[:COMPONENTS], probes.mean(0))
    assert pooled.error(probes) < band.least
    assert bit(pooled.words(), probes, band) == 1
    assert bit(pooled.words(), None, None) == 0  # nothing else is wrong with it
    bad = Made(model.basis * 0, model.mean * 1.02)
    only_above = Band(0.0, 0.99 * bad.error(probes))
    assert bit(bad.words(), probes, only_above) == 1
    assert bit(bad.words(), probes, Band(0.0, 1.01 * bad.error(probes))) == 0


@pytest.mark.parametrize("engine_type", [FusedEngine, CryptenEngine])
@pytest.mark.parametrize("won", [0, 1, 5, PROBES])
def test_a_model_may_win_so_many_probes_and_not_one_more(probes, won, engine_type):
    """At the very edge, with nothing else that could refuse it."""
    model = honest()
    errors = np.sort(model.errors(probes))
    edge = 0.0 if won == 0 else errors[won - 1] + 1e-3
    assert won in (0, PROBES) or errors[won] > edge
    limits, anything = (float(edge),) * PROBES, Band(0.0, 100.0)
    for most in {max(won - 1, 0), won, PROBES}:
        bounds = ProbeBounds(anything, limits, most)
        expected = int(won > most)
        assert bit(model.words(), probes, bounds, engine_type=engine_type) == expected
        assert bounds.kept_by(model.errors(probes)) == (not expected)


def test_a_model_out_of_bounds_is_refused_however_few_probes_it_wins(probes):
    none_won = ProbeBounds(Band(0.0, 30000.0), (0.0,) * PROBES, PROBES)
    for model in BAD.values():
        assert bit(model.words(), probes, none_won) == 1


@pytest.mark.parametrize(
    "spec", [each for each in SPECS if each.name != "subspace"], ids=lambda s: s.name
)
def test_networks_in_layers_are_held_to_ranges_and_to_the_band(spec):
    parameters = {name: words[:1] for name, words in cohort(spec, 2).items()}
    probes = np.random.default_rng(5).uniform(-1, 1, (3, *spec.input_shape)) / 4
    assert bit(parameters, probes, Band(0.0, 30000.0), spec=spec) == 0
    assert bit(parameters, probes, Band(0.0, 1e-6), spec=spec) == 1
    name = next(iter(parameters))
    large = parameters[name].copy()
    large.reshape(-1)[0] = 1 << 40
    assert bit({**parameters, name: large}, None, None, spec=spec) == 1


def test_its_rounds_do_not_grow_with_probes_up_to_32_and_its_bytes_are_as_documented(probes, band):
    few = checked(honest().words(), probes[:2], band)
    many = checked(honest().words(), probes[:32], band)
    assert few.sessions[0].rounds == many.sessions[0].rounds
