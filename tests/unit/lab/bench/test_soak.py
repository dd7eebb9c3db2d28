"""The figures of `privedge bench soak`: different questions, and growth from samples."""

import pytest

from privedge_lab.bench import made, soak, system

SPEC = system.spec_of("subspace32")


def sample(answered: int, rss_mb: float, fds: int = 100, threads: int = 50) -> soak.Sample:
    return soak.Sample(answered, rss_mb, fds, threads)


def test_no_two_clients_have_the_same_answer():
    models, images = made.models(SPEC, 3, 1), made.images(SPEC, 60, 1)
    asked = soak.questions(models, images, 12)
    assert len({question.owners for question in asked}) == 12
    for question in asked:
        assert len(question.images) == len(question.owners)


def test_growth_is_that_after_the_warm_up():
    warming = [sample(0, 100, 10, 5), sample(1000, 400)]
    steady = [sample(answered, 500 + 0.002 * answered) for answered in range(2000, 10_001, 500)]
    grown = soak.growth(warming + steady, 10_000)
    assert grown == {"rss_mb_per_1000": 2.0, "fds_growth": 0, "threads_growth": 0}


def test_descriptors_that_are_kept_are_seen():
    leaking = [sample(answered, 500, 100 + answered // 100) for answered in range(0, 10_001, 500)]
    assert soak.growth(leaking, 10_000)["fds_growth"] == pytest.approx(65, abs=5)


def test_a_soak_too_short_to_say_has_no_growth():
    assert set(soak.growth([sample(0, 1)], 10).values()) == {0}
