"""Rows are read as they were written, and from anything at all without a word."""

import json
import typing
from collections.abc import Mapping
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privedge_lab.results.registry import EXPERIMENTS
from privedge_lab.results.rows import values
from privedge_lab.results.rows.identify import IdentifyRow
from privedge_lab.results.rows.original import OriginalRow
from privedge_lab.results.rows.row import Part
from privedge_lab.results.rows.settings import Settings
from privedge_lab.results.rows.sweep import SweepRow

KINDS = sorted({each.row for each in EXPERIMENTS.values()} | {Settings}, key=lambda k: k.__name__)

numbers = st.floats(-1e14, 1e14) | st.integers(-(10**14), 10**14)
words = st.text(max_size=8).map(values.plain)
counts = st.lists(st.lists(st.integers(0, 1 << 39), max_size=3), max_size=3)
SIMPLE = {
    values.Figure: st.none() | numbers,
    values.Text: st.none() | words,
    values.Flag: st.none() | st.booleans(),
    values.Value: st.none() | numbers | words.filter(bool),
    int | None: st.none() | st.integers(),
    values.Confusion | None: st.none() | counts.map(lambda m: tuple(map(tuple, m))),
}


def strategy(hint):
    """Whatever a field of this type may hold."""
    if hint in SIMPLE:
        return SIMPLE[hint]
    if isinstance(hint, type) and issubclass(hint, Part):
        return any_of(hint)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return st.lists(strategy(inner[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(st.text(max_size=3), strategy(inner[1]), max_size=2)
    return st.none() | strategy(inner[0])


def any_of(kind):
    hints = typing.get_type_hints(kind)
    return st.builds(
        kind, **{f.name: strategy(hints[f.name]) for f in fields(kind) if f.name != "stored"}
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_row_is_read_as_it_was_written(kind, data):
    row = data.draw(any_of(kind))
    assert kind.read(json.loads(json.dumps(row.to_json()))) == row


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_any_value_is_read_as_a_row_that_can_be_written_and_read_again(kind, data):
    names = st.sampled_from([each.name for each in fields(kind)])
    raw = data.draw(anything | st.dictionaries(names, anything))
    row = kind.read(raw)
    assert kind.read(row.to_json()) == row


NO_FIGURES = [None, True, "0.5", [0.5], {"mean": 0.5}, float("nan"), float("inf"), 1e300, 10**400]


@pytest.mark.parametrize("value", NO_FIGURES, ids=repr)
def test_what_can_be_no_measurement_is_none(value):
    row = IdentifyRow.read({"accuracy": value, "baselines": {"knn": {"accuracy": value}}})
    assert row.accuracy is None and row.baselines["knn"].accuracy is None


def test_a_name_is_one_short_line_and_a_number_can_be_one():
    row = IdentifyRow.read({"preset": "a\nb\x00" + 300 * "c"})
    assert row.preset is not None and row.preset.startswith("a b cc") and len(row.preset) == 200
    assert IdentifyRow.read({"preset": 32}).preset == "32"
    assert IdentifyRow.read({"preset": ["subspace32"]}).preset is None


def test_a_confusion_matrix_of_anything_but_counts_is_none():
    assert IdentifyRow.read({"confusion": [[1, 0, 0], [2, 3, 0]]}).confusion == (
        (1, 0, 0),
        (2, 3, 0),
    )
    for matrix in ([[1.0]], [[True]], [[-1]], [3], "x", [[1 << 40]]):
        assert IdentifyRow.read({"confusion": matrix}).confusion is None


def test_keys_that_do_not_belong_to_a_row_are_left_out_and_others_are_null():
    row = SweepRow.read({"attack": "attribute", "majority": 0.5})
    assert "psnr_db" not in row.to_json()
    assert row.to_json()["task_accuracy"] is None
    assert set(OriginalRow.read({"seed": 0, "owner": "ana", "step": 3}).to_json()) == {
        *("seed", "owner", "step")
    }


def test_a_row_keeps_what_it_was_read_from_as_evidence_and_is_equal_without_it():
    raw = {"seed": 0, "accuracy": "high", "weather": "fine"}
    row = IdentifyRow.read(raw)
    assert row.as_stored() == raw
    assert IdentifyRow.read(row.to_json()) == row
    assert row.named_values() == {"seed": 0, "accuracy": "high", "weather": "fine"}
