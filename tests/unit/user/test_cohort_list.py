"""The list of cohorts, where two parties say different things."""

import json

import pytest
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.user import cohorts
from tests.unit.client import open_parties
from tests.unit.client.open_parties import COHORT, SPEC


@pytest.fixture
def parties():
    with open_parties.serving() as running:
        yield running


def test_a_cohort_that_only_one_party_lists_is_shown_with_that(parties, tmp_path):
    parties.servicers[0].cohorts = {}
    (found,) = cohorts.listed(parties.config)
    assert found.name == COHORT and found.facts.architecture == SPEC
    assert found.state == "only party 1 lists it to you; tell both operators"
    command = ["cohorts", "--config", str(parties.config_file(tmp_path))]
    assert CliRunner().invoke(build(), command).stdout.splitlines()[1:] == [
        f"{COHORT}        4     0.9  grey pictures of 32x32; "
        "only party 1 lists it to you; tell both operators"
    ]
    (said,) = json.loads(CliRunner().invoke(build(), [*command, "--json"]).stdout)["cohorts"]
    assert (said["parties_agree"], said["can_answer_unknown"], said["owners"]) == (False, True, 4)


def test_no_cohort_at_all_is_said_and_what_to_do(parties, tmp_path):
    for each in parties.servicers:
        each.cohorts = {}
    command = ["cohorts", "--config", str(parties.config_file(tmp_path))]
    assert "ask the operators" in CliRunner().invoke(build(), command).stdout
