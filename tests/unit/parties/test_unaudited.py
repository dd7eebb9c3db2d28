"""Runs without an audited bundle: how they are counted, when operators are told, who may refuse."""

import pytest
from pydantic import ValidationError

from parties.config.sections import PoolSection
from parties.party.queries.unaudited import IN_A_ROW, Unaudited


def test_operators_are_told_after_so_many_in_a_row_and_no_longer_after_an_audited_one():
    counted = Unaudited()
    for _ in range(IN_A_ROW - 1):
        counted.add("faces", audited=False)
    counted.add("digits", audited=True)
    assert counted.fault() == ""
    counted.add("faces", audited=False)
    assert counted.fault() == f"the last {IN_A_ROW} runs had no audited bundle: cohort faces"
    counted.add("faces", audited=True)
    assert counted.fault() == ""
    assert counted.runs() == {"faces": IN_A_ROW, "digits": 0}


@pytest.mark.parametrize("without", [{"bundles": 0}, {"opened": 0}])
def test_a_party_that_audits_nothing_cannot_refuse_what_is_unaudited(without):
    with pytest.raises(ValidationError, match="no query is answered"):
        PoolSection(unaudited="refuse", **without)


def test_by_default_queries_are_answered():
    assert PoolSection().unaudited == "serve"
