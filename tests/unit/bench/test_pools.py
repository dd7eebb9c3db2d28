"""When a pool counts as warm."""

import pytest

from privedge.bench import deployed
from privedge.errors import OutOfTime

GROWING = [[(0, 4), (0, 4)], [(4, 4), (3, 4)], [(4, 4), (4, 4)], [(0, 4), (0, 4)]]


def test_every_pool_is_waited_for_and_no_longer():
    looks = iter(GROWING)
    deployed.until_full(lambda: next(looks))
    assert list(looks) == GROWING[3:]


def test_without_pools_there_is_nothing_to_wait_for():
    deployed.until_full(list)


def test_a_pool_that_a_limit_keeps_from_its_size_is_as_warm_as_it_gets(monkeypatch):
    monkeypatch.setattr(deployed, "_UNCHANGED_S", 0.1)
    deployed.until_full(lambda: [(1, 4), (2, 4)])


def test_an_empty_pool_is_never_warm(monkeypatch):
    monkeypatch.setattr(deployed, "_UNCHANGED_S", 0.05)
    monkeypatch.setattr(deployed, "_WARM_WITHIN_S", 0.2)
    with pytest.raises(OutOfTime, match="--pool empty"):
        deployed.until_full(lambda: [(0, 4), (4, 4)])
