"""The list of experiments agrees with those who store results and with those who show them."""

from privedge_lab.report.page import SECTIONS
from privedge_lab.results.registry import EXPERIMENTS


def test_every_experiment_has_a_section_and_every_section_an_experiment():
    # Others: what no experiment of ours stored.
    assert {each.section for each in EXPERIMENTS.values()} | {"others"} == set(SECTIONS)


def test_each_experiment_has_rows_of_a_type_of_its_own():
    kinds = [each.row for each in EXPERIMENTS.values()]
    assert len(set(kinds)) == len(kinds)
