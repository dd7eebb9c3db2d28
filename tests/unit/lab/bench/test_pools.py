"""When a pool counts as warm."""

import pytest

from privedge.errors import DeadlineExceeded
from privedge_lab.bench import deployed

GROWING = [[(0, 4), (0, 4)], [(4, 4), (3, 4)], [(4, 4), (4, 4)], [(0, 4), (0, 4)]]


def test_every_pool_is_waited_for_and_no_longer():
    looks = iter(GROWING)
    assert deployed.until_full(lambda: next(looks)) == GROWING[2]
    assert list(looks) == GROWING[3:]


def test_without_pools_there_is_nothing_to_wait_for():
    deployed.until_full(list)


def test_a_pool_that_a_limit_keeps_from_its_size_is_as_warm_as_it_gets(monkeypatch):
    monkeypatch.setattr(deployed, "_UNCHANGED_S", 0.1)
    assert deployed.until_full(lambda: [(1, 4), (2, 4)]) == [(1, 4), (2, 4)]


def test_what_such_a_pool_had_once_is_waited_for_and_no_more(monkeypatch):
    monkeypatch.setattr(deployed, "_WARM_WITHIN_S", deployed._UNCHANGED_S / 2)
    looks = iter([[(0, 4), (2, 4)], [(1, 4), (1, 4)], [(1, 4), (2, 4)], [(2, 4), (2, 4)]])
    assert deployed.until_full(lambda: next(looks), [(1, 4), (2, 4)]) == [(1, 4), (2, 4)]
    assert list(looks) == [[(2, 4), (2, 4)]]


def test_an_empty_pool_is_never_warm(monkeypatch):
    monkeypatch.setattr(deployed, "_UNCHANGED_S", 0.05)
    monkeypatch.setattr(deployed, "_WARM_WITHIN_S", 0.2)
    with pytest.raises(DeadlineExceeded, match="--pool empty"):
        deployed.until_full(lambda: [(0, 4), (4, 4)])
