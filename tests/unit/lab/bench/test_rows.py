"""From single queries to a row of the table: medians, agreement and ratios."""

import pytest

from privedge_lab.bench import rows
from privedge_lab.reference.model import PlainAnswer

RIGHT = PlainAnswer("a", tie=False)
ASKED = rows.Asked("stock", "conv32", owners=2, batch=1, queries=3, pool=None, rtt_ms=0)


def sample(online, owner="a", cpu=1.0, client=None):
    slower, faster = (rows.PartyCost(0, 0, seconds, 100, 10) for seconds in (online, online / 2))
    spent = {"front_ends": cpu, "workers": cpu, "dealer": cpu}
    return rows.Sample([owner], 7, (faster, slower), spent, cpu, client=client)


def test_a_row_takes_the_slower_party_and_leaves_out_the_cold_and_the_warming_queries():
    samples = [sample(9), sample(9), sample(9), sample(1), sample(5), sample(2)]
    row = rows.row(ASKED, samples, [[RIGHT]] * 6)
    assert row.online_s == 2
    assert [party.online_s for party in row.parties] == [1, 2]
    assert (row.rounds, row.bytes_per_party, row.dealer_bytes_per_party) == (7, 100, 10)
    assert (row.cpu_s, row.offline_cpu_s) == (3, 1)


def test_a_wrong_answer_counts_even_if_it_came_cold():
    samples = [sample(1, owner) for owner in ("b", "a", "a", None)]
    row = rows.row(ASKED, samples, [[RIGHT]] * 4)
    assert row.agreement == 0.5
    assert (row.agreeing, row.ties, row.differing) == (2, 0, 2)


def test_ties_count_apart_however_they_were_answered():
    samples = [sample(1, owner) for owner in ("a", "b", "a", "b", None)]
    tie, nobody = PlainAnswer("a", tie=True), PlainAnswer(None, tie=False)
    row = rows.row(ASKED, samples, [[tie], [tie], [RIGHT], [RIGHT], [nobody]])
    assert (row.agreeing, row.ties, row.differing) == (2, 2, 1)
    assert row.agreement == 0.6


def test_seconds_at_the_client_are_absent_where_there_is_none():
    row = rows.row(ASKED, [sample(1)] * 4, [[RIGHT]] * 4)
    assert (row.cold_s, row.median_s, row.wall_s, row.client_cpu_s) == (None,) * 4


def test_seconds_at_the_client_are_of_warm_queries_but_the_cold_one():
    seen = [rows.AtClient(seconds, seconds / 2, 0.5, 700) for seconds in (8, 4, 4, 2)]
    row = rows.row(ASKED, [sample(1, client=each) for each in seen], [[RIGHT]] * 4)
    assert (row.cold_s, row.median_s, row.p95_s, row.wall_s) == (8, 2, 2, 1)
    assert row.client_cpu_s == 0.5


@pytest.mark.parametrize(
    ("engine", "ratios"), [("fused", [1, 4]), ("crypten", [None, None])], ids=["with", "without"]
)
def test_ratios_are_against_the_fused_engine_of_the_run(engine, ratios):
    fast = rows.Asked(**{**vars(ASKED), "engine": engine})
    measured = [
        rows.row(asked, [sample(seconds)] * 4, [[RIGHT]] * 4)
        for asked, seconds in ((fast, 0.5), (ASKED, 2.0))
    ]
    assert [row.ratio for row in rows.with_ratios(measured)] == ratios
