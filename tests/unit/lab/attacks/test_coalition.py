"""No group that the threat model allows finds anything in what is released, and the same attacks
find the order of all owners in what is not (W-33).
"""

import json
import math

import pytest
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge_lab.evaluation import coalition
from privedge_lab.evaluation.coalition import CoalitionRow, CoalitionSettings

GROUPS = [f"{one} + clients + owners" for one in ("dealer", "party 0", "party 1")]
ORDER, WORDS = "order of the owners", "released words it can compute"
SETTINGS = CoalitionSettings(owners=10, queries=20)


def rows(settings: CoalitionSettings) -> dict[tuple[str, str], CoalitionRow]:
    return {(row.coalition, row.target): row for row in coalition.rows(settings, lambda *_: None)}


@pytest.fixture(scope="module")
def released() -> dict[tuple[str, str], CoalitionRow]:
    return rows(SETTINGS)


@pytest.fixture(scope="module")
def unreleased() -> dict[tuple[str, str], CoalitionRow]:
    return rows(CoalitionSettings(10, 20, unreleased=True))


@pytest.mark.parametrize("group", GROUPS)
def test_w33_no_group_does_better_than_guessing(released, group):
    order, words = released[group, ORDER], released[group, WORDS]
    assert order.recovered == words.recovered == 0
    assert order.tries == 20 and order.guessing == 1 / math.factorial(10)
    assert words.tries == (400 if group == GROUPS[0] else 200)


def test_w33_without_a_release_the_dealer_and_a_client_have_the_order_of_all_owners(unreleased):
    assert unreleased[GROUPS[0], ORDER].recovered == 1
    assert unreleased[GROUPS[0], WORDS].recovered == 1


@pytest.mark.parametrize("group", GROUPS[1:])
def test_a_party_and_a_client_have_nothing_even_then(unreleased, group):
    """A party has one share of each table only; the release is not for it."""
    assert unreleased[group, ORDER].recovered == unreleased[group, WORDS].recovered == 0


@pytest.mark.parametrize("owners", [2, 16])
def test_smallest_and_largest_cohort_are_attacked(owners):
    found = rows(CoalitionSettings(owners, 3, unreleased=True))
    assert found[GROUPS[0], ORDER].recovered == 1


def test_the_command_prints_rows_of_exactly_these_keys():
    done = CliRunner().invoke(build(), ["attack", "coalition", "--queries", "2", "--json"])
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    keys = {"coalition", "target", "recovered", "guessing", "tries"}
    assert list(printed) == ["rows"]
    assert [set(row) for row in printed["rows"]] == [keys] * 6
