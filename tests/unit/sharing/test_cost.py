"""Costs of several queries add up, phase by phase."""

import dataclasses

import pytest

from privedge.sharing.cost import Cost, Phase


def test_costs_add_up_and_phases_by_name_in_the_order_they_first_came():
    first = Cost(3, 30, 5, 0.5, 0.25, 1.0, 0.75, (Phase("weights", 1, 10), Phase("network", 2, 20)))
    second = Cost(
        4, 40, 6, 0.5, 0.25, 1.0, 0.75, (Phase("network", 3, 25), Phase("decision", 1, 15))
    )
    assert first.plus(second) == Cost(
        7,
        70,
        11,
        1.0,
        0.5,
        2.0,
        1.5,
        (Phase("weights", 1, 10), Phase("network", 5, 45), Phase("decision", 1, 15)),
    )


def test_nothing_costs_nothing():
    some = Cost(3, 30, 5, 0.5, 0.25, 1.0, 0.75, (Phase("weights", 1, 10),))
    assert Cost().plus(some) == some.plus(Cost()) == some
    assert Phase("weights").plus(Phase("weights", 1, 10)) == Phase("weights", 1, 10)
    assert Cost() == Cost(0, 0, 0, 0.0, 0.0, 0.0, 0.0, ())


@pytest.mark.parametrize("cost", [Cost(1), Phase("network", 1)])
def test_a_cost_that_was_told_cannot_be_changed(cost):
    with pytest.raises(dataclasses.FrozenInstanceError):
        cost.rounds = 0
