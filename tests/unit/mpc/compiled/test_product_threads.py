"""Several threads share the owners of a product, and change nothing about it."""

import threading

import pytest
import torch

from parties.mpc.compiled import threads
from parties.mpc.products import apply
from tests.unit.mpc.ways import computing


@pytest.fixture
def four():
    threads.use(4)
    yield
    threads.use(1)


@pytest.mark.parametrize("owners", [0, 1, 3, 4, 9])
def test_each_owner_is_computed_once(four, owners):
    seen: list[int] = []
    threads.spread(owners, lambda start, stop: seen.extend(range(start, stop)))
    assert sorted(seen) == list(range(owners))


def test_they_work_at_the_same_time(four):
    together = threading.Barrier(4, timeout=60)
    threads.spread(4, lambda start, stop: together.wait())


def test_an_error_in_one_part_is_not_lost(four):
    def work(start, stop):
        if start == 2:
            raise ValueError("part 2")

    with pytest.raises(ValueError, match="part 2"):
        threads.spread(4, work)


@pytest.mark.parametrize("kind", ["dense", "dense_back", "conv"])
@pytest.mark.parametrize("common", [True, False])
def test_products_are_the_same(four, kind, common):
    owners = 7
    weight = torch.randint(
        -(2**63), 2**63 - 1, (owners, 5, 3, 2, 2) if kind == "conv" else (owners, 5, 12)
    )
    groups = 1 if common else owners
    shape = (2, groups, 3, 4, 4) if kind == "conv" else (groups, 2, 12 if kind == "dense" else 5)
    x = torch.randint(-(2**63), 2**63 - 1, shape)
    with computing("kernels"):
        found = apply(kind, x, weight)
    with computing("torch"):
        assert torch.equal(found, apply(kind, x, weight))
