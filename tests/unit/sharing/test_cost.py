"""Costs of several queries add up, phase by phase."""

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
