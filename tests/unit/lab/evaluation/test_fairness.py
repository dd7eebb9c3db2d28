"""Models that reconstruct too much: what they win, what parties admit, and what an audit sees."""

import numpy as np
import pytest

from privedge.errors import ConfigError
from privedge.ran.presets import preset
from privedge.ran.spec import ImageShape
from privedge_lab.datasets import from_arrays
from privedge_lab.demo import digits
from privedge_lab.evaluation import fairness, identify_engines, thieves
from privedge_lab.evaluation.cohort import settings_of, spec_of, train_cohort
from privedge_lab.evaluation.fairness import CALIBRATIONS
from privedge_lab.evaluation.identify_parts import Choice, deal
from privedge_lab.results.store import Results

OWNERS, EACH, COMPONENTS = 8, 25, 6


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


def request_of(file, *names: str, **changes) -> fairness.Request:
    changes = {"components": COMPONENTS, "tries": 2} | changes
    changes = {"preset": "subspace32", **changes}
    return fairness.Request(file, Choice(0), baselines=(), thieves=names, **changes)


@pytest.fixture(scope="module")
def found(file, data):
    """Rows of all thieves by thief and calibration."""
    request = request_of(file, *thieves.THIEVES)
    rows = fairness.measure(request, data, [0], Results("x", {}), quiet)
    return {(row.thief, row.calibration): row for row in rows}


# --- What is stolen -------------------------------------------------------------------------------


def test_honest_owners_steal_hardly_anything_and_pass_the_audit(found):
    row = found["none", "none"]
    assert row.steal_rate < 0.1 and row.macro_recall > 0.8
    assert row.admitted and not row.audit_refused and row.audit_ratio > 0.8
    rates = row.win_rates
    assert rates.least_won_over_asked <= 1 <= rates.most_won_over_asked
    assert row.audit_refused_honest < 0.2


def test_a_model_that_reconstructs_everything_wins_everything_but_is_not_admitted(found):
    row = found["identity", "none"]
    assert row.steal_rate == 1 and row.macro_recall == pytest.approx(1 / OWNERS)
    assert row.win_rates.thief_won_over_asked == OWNERS
    assert row.win_rates.most_won_over_asked == 0
    assert row.components == 512 and not row.admitted
    assert row.audit_refused and row.audit_ratio == 0


def test_a_model_of_more_components_is_not_of_the_cohorts_architecture(found):
    assert found["wide2", "none"].components == 2 * COMPONENTS
    assert found["wide4", "none"].components == 4 * COMPONENTS
    assert not found["wide2", "none"].admitted and not found["wide4", "none"].admitted


def test_models_of_the_right_shape_are_admitted_and_steal_more_than_honest_ones(found):
    honest = found["none", "none"].steal_rate
    for name in ("pooled", "stretched"):
        row = found[name, "none"]
        assert row.admitted and row.components == COMPONENTS
        assert row.steal_rate > honest
        assert row.macro_recall < found["none", "none"].macro_recall


def test_a_stretched_basis_wins_nearly_everything_and_only_the_audit_sees_it(found):
    row = found["stretched", "none"]
    assert row.steal_rate > 0.95 and row.admitted
    assert row.audit_refused and row.audit_ratio < 0


def test_the_parties_arithmetic_gives_a_stretched_basis_no_image_and_makes_all_unknown(file, data):
    parts = deal(data, Choice(0))
    request = request_of(file)
    spec = spec_of(request, parts)
    cohort = train_cohort(parts, spec, settings_of(request, spec, 0), quiet)
    rans = [*cohort.rans[:-1], thieves.stretched(cohort.rans[-1])]
    answers = identify_engines.fixed(rans, cohort.features[:8])
    assert set(parts.labels[:8]) != {OWNERS - 1}
    # Its distances are far below 0, which no answer may be.
    assert answers.tolist() == [-1] * 8


# --- Calibrations ---------------------------------------------------------------------------------


def test_calibrations_of_a_case_counted_by_hand():
    errors = np.array([[2.0, 3.0]])
    own = [np.array([1.0, 3.0]), np.array([5.0, 7.0])]
    assert fairness.calibrated(errors, own, "none").tolist() == [[2, 3]]
    assert fairness.calibrated(errors, own, "ratio").tolist() == [[1, 0.5]]
    assert fairness.calibrated(errors, own, "z").tolist() == [[0, -3]]
    assert np.allclose(fairness.calibrated(errors, own, "quantile"), [[2 / 2.9, 3 / 6.9]])


def test_a_single_image_held_out_does_not_divide_by_zero():
    own = [np.array([2.0]), np.array([0.0])]
    for how in CALIBRATIONS:
        scores = fairness.calibrated(np.array([[2.0, 0.0]]), own, how)
        assert np.isfinite(scores).all()


# --- Rows, thieves and images ---------------------------------------------------------------------


def test_a_thief_is_added_to_rows_that_stay_and_nothing_is_trained_for_rows_there_are(
    file, data, tmp_path
):
    path = tmp_path / "rows.json"
    list(fairness.measure(request_of(file, "identity"), data, [0], Results("x", {}, path), quiet))
    again = Results("x", {}, path, resume=True)
    before, steps = list(again.rows), []
    assert len(before) == 2 * len(CALIBRATIONS)
    one, watch = request_of(file, "identity"), lambda *step: steps.append(step)
    list(fairness.measure(one, data, [0], again, watch))
    assert not steps and again.rows == before
    both = request_of(file, "public", "identity")
    rows = list(fairness.measure(both, data, [0], again, quiet))
    assert again.rows[: len(before)] == before
    assert [row.thief for row in rows[4:8]] == ["public"] * 4 and len(again.rows) == 12


def test_a_network_has_no_components_to_have_more_of():
    network = preset("ran32", height=32, width=32, channels=1)
    assert thieves.chosen(None, network) == ("identity", "pooled", "public")
    with pytest.raises(ConfigError, match=r"wide2.*identity, pooled, public"):
        thieves.chosen(("wide2",), network)


def test_wide_models_never_have_more_components_than_there_are_values(file, data):
    request = request_of(file, "wide4", components=300, tries=1)
    row = list(fairness.measure(request, data, [0], Results("x", {}), quiet))[4]
    assert row.components == 511


@pytest.mark.parametrize("channels", [1, 3])
def test_made_up_images_are_smooth_and_drawn_by_the_seed(channels):
    shape = ImageShape(height=32, width=24, channels=channels)
    images = thieves.varied(shape, 6, 1)
    assert images.dtype == np.uint8
    assert images.shape == ((6, 32, 24) if channels == 1 else (6, 32, 24, 3))
    assert np.array_equal(images, thieves.varied(shape, 6, 1))
    assert not np.array_equal(images, thieves.varied(shape, 6, 2))
    # Of white noise, neighbours differ by as much as pixels far apart.
    beside, apart = (np.abs(np.roll(images.astype(float), by, 1) - images).mean() for by in (1, 16))
    assert beside < apart * 0.7


@pytest.mark.parametrize(
    ("changes", "message"), [({"tries": OWNERS}, "tries"), ({"probes": True}, "give at least")]
)
def test_what_cannot_be_measured_is_refused_in_one_line(file, data, changes, message):
    if "probes" in changes:
        changes = {"probes": file}
    with pytest.raises(ConfigError, match=message):
        list(fairness.measure(request_of(file, **changes), data, [0], Results("x", {}), quiet))
