"""The file of public probes: what it holds, what it refuses, and what a coin draws of it."""

from dataclasses import replace

import numpy as np
import pytest

from privedge.errors import ConfigError
from privedge.ran import probes
from privedge.ran.model_bounds import Band
from privedge.ran.presets import preset
from privedge.ran.probes import Probes, Rule
from tests.chance import SIGMAS

SIZE, POOL, ASKED = 6, 50, 20
SPEC = preset("vector", size=SIZE, components=2)


def rule(**changes) -> Rule:
    rng = np.random.default_rng(2)
    usual = rng.uniform(0.5, 1.5, POOL)
    return replace(Rule(usual, 0.5 * usual, Band(0.8, 1.25), 0.1, ASKED), **changes)


def pool(**changes) -> Probes:
    rows = np.random.default_rng(1).normal(size=(POOL, SIZE)).astype(np.float32)
    return Probes.of(rows, rule(**changes), SPEC)


def test_what_is_written_is_read(tmp_path):
    written = pool()
    probes.write(tmp_path / "probes.npz", written, SPEC)
    read = probes.read(tmp_path / "probes.npz", SPEC)
    assert read.digest == written.digest
    assert np.array_equal(read.rows, written.rows)
    assert np.array_equal(read.rule.limits, written.rule.limits)
    assert (read.rule.band, read.rule.most_won, read.rule.asked) == (Band(0.8, 1.25), 0.1, ASKED)


@pytest.mark.parametrize(
    "change",
    [
        {"band": Band(0.8, 1.26)},
        {"most_won": 0.2},
        {"asked": ASKED - 1},
        {"usual": rule().usual * 1.5},
        {"limits": rule().limits * 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_operators_who_differ_in_anything_have_another_digest(change):
    assert pool(**change).digest != pool().digest


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"asked": 0}, "can be asked"),
        ({"asked": POOL + 1}, "can be asked"),
        ({"most_won": 1.5}, "most_won is a share"),
        ({"most_won": float("nan")}, "most_won is a share"),
        ({"band": Band(1.0, 1.0)}, "no band"),
        ({"band": Band(0.0, float("inf"))}, "no band"),
        ({"usual": np.ones(POOL - 1)}, "no errors below"),
        ({"limits": np.full(POOL, float("nan"))}, "no errors below"),
        ({"limits": np.full(POOL, -1.0)}, "no errors below"),
    ],
)
def test_rules_that_say_nothing_are_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        pool(**change)


def test_a_file_of_an_earlier_release_is_refused(tmp_path):
    old = tmp_path / "old.npz"
    np.savez(old, probes=pool().rows, band=np.array([1.0, 2.0]), spec=np.array(SPEC.digest()))
    with pytest.raises(ConfigError, match="has no array"):
        probes.read(old, SPEC)


def test_a_coin_draws_the_same_probes_for_both_and_another_coin_others():
    first, again, other = (pool().picked(coin) for coin in (b"a" * 32, b"a" * 32, b"b" * 32))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len(set(first.tolist())) == ASKED


def test_every_probe_is_drawn_as_often_as_any_other():
    drawn = np.zeros(POOL)
    tries, found = 2000, pool()
    for number in range(tries):
        drawn[found.picked(number.to_bytes(32, "big"))] += 1
    expected = tries * ASKED / POOL
    assert np.abs(drawn - expected).max() < SIGMAS * np.sqrt(expected * (1 - ASKED / POOL))


def test_bounds_are_those_of_the_probes_that_are_drawn():
    found = pool()
    at, drawn = found.picked(b"a" * 32), found.drawn(b"a" * 32)
    assert np.array_equal(drawn.rows, found.rows[at])
    usual = found.rule.usual[at]
    assert drawn.bounds.band == Band(0.8 * usual.mean(), 1.25 * usual.mean())
    assert drawn.bounds.limits == tuple(found.rule.limits[at])
    assert drawn.bounds.most_won == 2
    assert drawn.bounds.kept_by(usual) and not drawn.bounds.kept_by(0.79 * usual)
    won = usual.copy()
    won[:2] = 0.49 * usual[:2]
    assert drawn.bounds.kept_by(won)
    won[2] = 0.49 * usual[2]
    assert not drawn.bounds.kept_by(won)
