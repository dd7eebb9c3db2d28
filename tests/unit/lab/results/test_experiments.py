"""The list of experiments agrees with those who store results and with those who show them."""

import ast
import importlib
import pkgutil
import typing
from pathlib import Path

import pytest

import privedge_lab
from privedge_lab import bench, evaluation
from privedge_lab.evaluation.attack_table import Found
from privedge_lab.report.page import SECTIONS
from privedge_lab.results.registry import EXPERIMENTS, PRINTED

ROOT = Path(privedge_lab.__file__).parent


def modules_of(package):
    names = [each.name for each in pkgutil.iter_modules(package.__path__)]
    found = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return [module for module in found if hasattr(module, "measure")]


def row_of(module):
    """The type of the rows that a module measures."""
    hint = typing.get_type_hints(module.measure)["return"]
    kind = (*typing.get_args(hint), hint)[0]
    # The attack table yields pictures with its rows.
    return typing.get_type_hints(Found)["row"] if kind is Found else kind


STORING = {module.EXPERIMENT: module for module in modules_of(evaluation)}


def test_every_experiment_that_a_module_stores_is_listed_and_the_reverse():
    assert len(STORING) == len(modules_of(evaluation))
    assert set(STORING) == {name for name, each in EXPERIMENTS.items() if each.printed is None}


@pytest.mark.parametrize("name", STORING)
def test_an_experiment_measures_rows_of_the_type_that_is_listed(name):
    assert row_of(STORING[name]) is EXPERIMENTS[name].row


def test_the_bench_measures_rows_of_the_types_that_are_listed():
    printed = {each.row for each in EXPERIMENTS.values() if each.printed is not None}
    assert {row_of(module) for module in modules_of(bench)} == printed


def calls(path, name):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield node


def test_commands_store_results_under_the_name_that_the_module_has():
    named = [
        ast.unparse(call.args[0]).rpartition(".")[2]
        for path in (ROOT / "cli").rglob("*.py")
        for call in calls(path, "experiment.run")
    ]
    assert len(named) == len(STORING) and set(named) == {"EXPERIMENT"}


def test_the_bench_prints_its_rows_under_the_keys_that_the_report_looks_for():
    found = [
        call.args[0].value
        for path in sorted((ROOT / "cli").glob("bench*.py"))
        for call in calls(path, "show")
    ]
    assert sorted(found) == sorted(name for names in PRINTED.values() for name in names)


def test_every_experiment_has_a_section_and_every_section_an_experiment():
    # Others: what no experiment of ours stored.
    assert {each.section for each in EXPERIMENTS.values()} | {"others"} == set(SECTIONS)


def test_each_experiment_has_rows_of_a_type_of_its_own():
    kinds = [each.row for each in EXPERIMENTS.values()]
    assert len(set(kinds)) == len(kinds)
