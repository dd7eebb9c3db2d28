"""Accuracy against the number of owners: nested cohorts of the same models, and fitted growth."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from privedge.errors import ConfigError
from privedge_lab.datasets import from_arrays
from privedge_lab.demo import digits
from privedge_lab.evaluation import growth, identify, scale
from privedge_lab.evaluation.cohort import settings_of, spec_of, train_cohort
from privedge_lab.evaluation.identify_parts import Choice, deal
from privedge_lab.results.rows.scale import ScaleRow
from privedge_lab.results.store import Results

OWNERS, EACH = 5, 25


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:EACH] for digit in range(OWNERS)])
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images, labels=np.repeat(np.arange(OWNERS), EACH))
    return path


@pytest.fixture(scope="module")
def data(file):
    arrays = np.load(file)
    return from_arrays(arrays["images"], arrays["labels"])


def quiet(*_: object) -> None:
    """Nobody watches."""


def request_of(file, *sizes: int | None) -> scale.Request:
    return scale.Request(file, Choice(0), components=4, baselines=(), sizes=sizes, private=False)


def trained_in(file, data, results, *sizes: int | None) -> int:
    """How many models a measurement trained."""
    steps = []
    rows = scale.measure(
        request_of(file, *sizes), data, [0], results, lambda *step: steps.append(step)
    )
    assert len(list(rows)) == len(sizes)
    return sum(doing.startswith("train") for doing, _, _ in steps)


# --- Nested cohorts -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort(file, data):
    request = request_of(file, None)
    parts = scale.ordered(deal(data, Choice(3)), 3)
    spec = spec_of(request, parts)
    return train_cohort(parts, spec, settings_of(request, spec, 3), quiet)


def test_a_smaller_cohort_is_part_of_every_larger_one(cohort):
    for size in range(2, OWNERS):
        small, large = scale.first(cohort, size), scale.first(cohort, size + 1)
        assert small.parts.owners == large.parts.owners[:size]
        assert all(a is b for a, b in zip(small.rans, large.rans, strict=False))
        mine = large.parts.labels < size
        assert np.array_equal(small.parts.images, large.parts.images[mine])
        assert np.array_equal(small.errors, large.errors[mine][:, :size])


def test_owners_keep_their_images_in_whatever_order_they_come(data):
    plain = deal(data, Choice(3))
    orders = {scale.ordered(plain, seed).owners for seed in range(6)}
    assert len(orders) > 1
    parts = scale.ordered(plain, 3)
    for number, owner in enumerate(parts.owners):
        before = plain.owners.index(owner)
        assert np.array_equal(parts.train[number], plain.train[before])
        theirs = parts.images[parts.labels == number]
        assert np.array_equal(theirs, plain.images[plain.labels == before])


def test_all_owners_are_told_apart_as_identify_says(file, data):
    _, row = scale.measure(request_of(file, 2, None), data, [1], Results("x", {}), quiet)
    whole = identify.Request(file, Choice(0), components=4, baselines=(), queries=1)
    (expected,) = identify.measure(whole, data, [1], Results("x", {}), quiet)
    assert row.owners == OWNERS and row.chance == 1 / OWNERS and row.private is None
    assert row.accuracy == expected.accuracy
    assert row.macro_recall == pytest.approx(expected.macro_recall)


def test_a_resumed_measurement_trains_no_more_than_what_is_missing_takes(file, data, tmp_path):
    path = tmp_path / "rows.json"
    assert trained_in(file, data, Results("x", {}, path), 2, None) == OWNERS
    assert trained_in(file, data, Results("x", {}, path, resume=True), 2, None) == 0
    again = Results("x", {}, path, resume=True)
    before = list(again.rows)
    assert trained_in(file, data, again, 2, 3, None) == 3
    assert again.rows[:2] == before and again.rows[2]["owners"] == 3


def test_sizes_do_not_name_a_file_but_what_is_asked_does(file):
    few, many = request_of(file, 2), request_of(file, 2, 4)
    assert few.settings() == many.settings()
    assert few.settings() != dataclasses.replace(few, queries=7).settings()


@pytest.mark.parametrize("sizes", [(1, 2), (2, OWNERS + 1)])
def test_a_number_of_owners_that_the_set_has_not_is_refused(file, data, sizes):
    with pytest.raises(ConfigError, match=f"{OWNERS} classes"):
        list(scale.measure(request_of(file, *sizes), data, [0], Results("x", {}), quiet))


# --- Growth ---------------------------------------------------------------------------------------

WHOLE = st.integers(-1000, 1000)


@given(WHOLE, WHOLE, st.lists(st.integers(1, 300), min_size=3, max_size=9, unique=True))
def test_a_line_is_found_again(intercept, slope, xs):
    found = growth.line(xs, [intercept + slope * x for x in xs])
    assert found["slope"] == pytest.approx(slope, abs=1e-6)
    assert found["intercept"] == pytest.approx(intercept, abs=1e-4)
    assert found["r_squared"] is None if slope == 0 else found["r_squared"] == pytest.approx(1)


@given(st.lists(st.tuples(WHOLE, WHOLE), min_size=3, max_size=9, unique_by=lambda point: point[0]))
def test_no_other_line_is_closer_and_r_squared_says_how_close(points):
    xs, ys = np.array(points, float).T
    assume(ys.std() > 0)
    found = growth.line(list(xs), list(ys))
    left = np.square(ys - found["intercept"] - found["slope"] * xs).sum()
    for down, tilt in ((1, 0), (-1, 0), (0, 0.01), (0, -0.01)):
        other = ys - (found["intercept"] + down) - (found["slope"] + tilt) * xs
        assert np.square(other).sum() >= left - 1e-6
    assert found["r_squared"] == pytest.approx(1 - left / np.square(ys - ys.mean()).sum(), abs=1e-6)
    assert -1e-9 <= found["r_squared"] <= 1


def test_one_size_has_no_growth_and_two_no_quality_of_fit():
    assert growth.line([5, 5], [1.0, 2.0]) is None
    assert growth.line([5, 10], [1.0, 2.0])["r_squared"] is None


@given(st.integers(2, 10**6))
def test_levels_are_as_many_as_powers_of_sixteen_it_takes(owners):
    assert 16 ** (growth.levels(owners) - 1) < owners <= 16 ** growth.levels(owners)


def row_of(owners: int) -> ScaleRow:
    private = {
        "online_s": 0.01 + 0.0002 * owners,
        "seconds_per_query": 0.02,
        "offline_cpu_s": 0.001 * owners,
        "cpu_s": 0.1,
        "bytes_per_query": 30_000 + 500 * owners,
        "dealt_bytes": 4_000 * owners,
        "rounds": 2 + 5 * growth.levels(owners),
    }
    accuracy = 1 - 0.05 * math.log2(owners)
    figures = {"accuracy": accuracy, "macro_recall": accuracy}
    return ScaleRow.read({"owners": owners, **figures, "private": private})


def test_growth_is_said_plainly():
    found = growth.fitted([row_of(owners) for owners in (5, 10, 33, 300)])
    assert found["online_s"]["slope"] == pytest.approx(0.0002)
    assert found["bytes_per_query"]["intercept"] == pytest.approx(30_000)
    assert found["rounds"]["slope"] == pytest.approx(5) and found["rounds"]["r_squared"] == 1
    said = " ".join(found["sentences"])
    assert "accuracy by -5.0 points" in said
    assert "each further 10 add 2.00 ms" in said and "5.00 kB" in said
    assert "5 more whenever the owners pass a power of 16, and 2 besides" in said


def test_without_private_rows_there_is_no_growth_of_costs():
    rows = [dataclasses.replace(row_of(owners), private=None) for owners in (5, 10)]
    assert set(growth.fitted(rows)) == {"accuracy", "macro_recall", "sentences"}
