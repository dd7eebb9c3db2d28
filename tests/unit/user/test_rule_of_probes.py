"""What errors on probes may be, as public people's models say; and what owners are told at home."""

import numpy as np
import pytest

from privedge.errors import ConfigError, ImageError
from privedge.ran.inputs import Opened
from privedge.ran.presets import preset
from privedge.user import model_check
from privedge.user.fitting import fit_ran
from privedge.user.model_check import NOBODY, Choice, rule_of
from privedge.user.settings import settings_for

SIZE = 64
SPEC = preset("vector", size=SIZE, unit_length=True, components=3)


def units(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, SIZE))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def person(number: int, count: int = 12) -> np.ndarray:
    rows = units(1, number)[0] + 0.1 * units(count, 1000 + number)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def silent(*_: object) -> None:
    """Show nothing."""


def made(**choice) -> model_check.Found:
    people = {str(number): Opened((), person(number)) for number in range(12)}
    strangers = [Opened((), units(60, 99))]
    return model_check.make(people, strangers, settings_for(SPEC), SPEC, silent, Choice(**choice))


def test_of_a_persons_own_pictures_the_others_say_what_is_usual_and_what_is_won():
    errors = np.array([[0.1, 4.0, 5.0], [3.0, 0.2, 2.0], [2.0, 6.0, 4.0]])
    rule, ratios, won = rule_of(errors, np.array([0, 1, NOBODY]), Choice(margin=0.5))
    assert rule.usual == pytest.approx([2.5, 5.0, 4.0])
    assert rule.limits == pytest.approx([1.0, 2.0, 1.0])
    assert ratios == pytest.approx([9 / 9, 5 / 6.5, 12 / 11.5])
    assert won == pytest.approx([0, 0, 0])
    # The second would be named on the third probe, were its error below half of the others'.
    errors[1, 2] = 1.9
    assert rule_of(errors, np.array([0, 1, NOBODY]), Choice(margin=0.5))[2] == pytest.approx(
        [0, 0.5, 0]
    )


def test_people_who_reconstruct_everything_say_nothing():
    with pytest.raises(ImageError, match="give other pictures"):
        rule_of(np.zeros((3, 4)), np.full(4, NOBODY), Choice())


def test_the_pool_is_the_peoples_pictures_and_the_others_each_once():
    found = made(asked=50)
    assert len(found.probes) == 12 * 12 + 60
    assert (found.probes.rule.asked, found.probes.rule.most_won) == (50, 0.05)
    assert made(asked=50).probes.digest == found.probes.digest
    assert found.won.max() <= 0.05


def test_too_few_people_are_refused():
    with pytest.raises(ConfigError, match="8 or more"):
        people = {"one": Opened((), person(1))}
        model_check.make(people, [], settings_for(SPEC), SPEC, silent)


def test_an_owner_is_told_at_home_that_a_model_wins_too_much():
    pool = made(deviations=20).probes
    honest = fit_ran(person(50), SPEC, settings_for(SPEC), "ana")
    assert model_check.faults(honest, pool) == []
    everybody = np.concatenate([person(number) for number in range(3)])
    thief = fit_ran(everybody, SPEC, settings_for(SPEC), "mallory")
    assert any(
        "it would be named on" in line and "at most 10 may be" in line
        for line in model_check.faults(thief, pool)
    )


def test_people_who_look_too_much_alike_are_refused():
    people = {str(number): Opened((), person(number)) for number in range(10)}
    people["twin"] = Opened((), person(3, 11))
    with pytest.raises(ConfigError, match="give more people, or allow more"):
        model_check.make(people, [], settings_for(SPEC), SPEC, silent)
    allowed = Choice(most_won=0.5)
    model_check.make(people, [], settings_for(SPEC), SPEC, silent, allowed)
