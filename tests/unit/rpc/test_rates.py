"""privedge/rpc/rates.py: how many calls a second a caller may begin."""

import pytest

from privedge.errors import Busy
from privedge.identity.roles import Identity, Role
from privedge.rpc import rates
from privedge.rpc.admission import Admission, Quota
from privedge.rpc.rates import Rates


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_burst_then_the_rate():
    clock = Clock()
    found = Rates(2, 5, clock)
    assert [found.take("ana") for _ in range(5)] == [0] * 5
    assert found.take("ana") == pytest.approx(0.5)
    assert found.take("ben") == 0
    clock.now = 0.5
    assert found.take("ana") == 0
    assert found.take("ana") == pytest.approx(0.5)
    clock.now = 1000
    assert [found.take("ana") > 0 for _ in range(6)] == [False] * 5 + [True]


def test_what_is_refused_takes_nothing_and_the_hint_is_exact():
    clock = Clock()
    found = Rates(1, 10, clock)
    assert found.take("ana", 8) == 0
    assert found.take("ana", 6) == 4
    clock.now = 4
    assert found.take("ana", 6) == 0


def test_more_than_a_burst_counts_as_a_burst():
    found = Rates(1, 10, Clock())
    assert found.take("ana", 1000) == 0
    assert found.take("ana", 1000) == 10


def test_callers_are_forgotten_only_when_that_changes_nothing(monkeypatch):
    monkeypatch.setattr(rates, "_MANY", 3)
    clock = Clock()
    found = Rates(1, 2, clock)
    for number in range(10):
        clock.now += 1.5
        assert found.take("ana") == 0
        assert found.take(number) == 0
    assert found.take("ana") == 0
    assert found.take("ana") > 0


def test_w15_a_caller_over_its_rate_is_refused_with_a_hint_and_others_are_not():
    admission = Admission()
    quota = Quota("queries", 100, 100, rates=Rates(0.5, 2, Clock()))
    ana, ben = Identity(Role.CLIENT, "ana"), Identity(Role.CLIENT, "ben")
    for _ in range(2):
        admission.enter(ana, quota)()
    with pytest.raises(Busy) as refused:
        admission.enter(ana, quota)
    assert refused.value.retry_after_s == 2
    admission.enter(ben, quota)()
