"""Identification measured on scikit-learn's digits: figures, baselines, splits, resuming."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from privedge.errors import ConfigError
from privedge.ran import features, rivals
from privedge.ran.images import fit
from privedge.ran.presets import preset
from privedge.ran.rivals import Rivals
from privedge.ran.spec import ImageShape
from privedge.user import checkpoint
from privedge_lab.datasets import Labelled, from_arrays
from privedge_lab.demo import digits
from privedge_lab.evaluation import cohort, identify, identify_baselines, identify_figures
from privedge_lab.evaluation.cohort import Training
from privedge_lab.evaluation.identify import Request
from privedge_lab.evaluation.identify_parts import Choice, Part, as_bytes, deal, owners_of
from privedge_lab.results.rows.identify import Agreement
from privedge_lab.results.store import Results, summary

OWNERS, EACH, PAGES = 4, 40, 4


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Four digits, forty images each, on four made-up pages."""
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:EACH] for digit in range(OWNERS)])
    labels = np.repeat(np.arange(OWNERS), EACH)
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images, labels=labels, page=np.tile(np.arange(EACH) % PAGES, OWNERS))
    return path


@pytest.fixture(scope="module")
def data(file):
    arrays = dict(np.load(file))
    return from_arrays(arrays.pop("images"), arrays.pop("labels"), arrays)


def quiet(*_: object) -> None:
    """Nobody watches."""


def request_of(file, **changes) -> Request:
    changes = {"choice": Choice(0), "components": 8, "baselines": (), "queries": 10} | changes
    return Request(file, **changes)


# --- Who gets which images ------------------------------------------------------------------------


def pictures(images) -> set[bytes]:
    return {image.tobytes() for image in images}


@pytest.mark.parametrize("group", [None, "page"])
def test_nobody_trains_on_what_is_asked_and_choosing_never_sees_the_test_part(data, group):
    test = deal(data, Choice(3, group=group))
    validation = deal(data, Choice(3, group=group, part=Part.VALIDATION))
    trained = set().union(*map(pictures, test.train))
    assert not trained & pictures(test.images)
    assert not set().union(*map(pictures, validation.train)) & pictures(validation.images)
    everything = set().union(*map(pictures, validation.train)) | pictures(validation.images)
    assert everything == trained


def test_a_page_is_in_one_part_only(data):
    parts = deal(data, Choice(0, group="page"))
    for owner in range(OWNERS):
        assert len(set(parts.pages[parts.labels == owner])) == 1
        assert len(parts.train[owner]) == EACH * (PAGES - 1) // PAGES


def test_owners_are_drawn_by_the_seed_and_keep_their_names(data):
    drawn = {deal(data, Choice(seed, owners=2)).owners for seed in range(8)}
    assert len(drawn) > 1
    parts = deal(data, Choice(1, owners=2))
    label = int(parts.owners[1].removeprefix("class-"))
    own = (data.images[data.labels == label] * 255).round().byte().numpy()
    assert pictures(parts.train[1]) <= pictures(own)
    assert pictures(parts.images[parts.labels == 1]) <= pictures(own)


@pytest.mark.parametrize(
    ("names", "called"),
    [
        (("ana", "ben", "cleo", "dora"), ("ana", "ben", "cleo", "dora")),
        (("Ana María", "ben/b", "cleo", "dora"), ("ana-maria", "ben-b", "cleo", "dora")),
        (("ana", "ana", "cleo", "dora"), ("class-0", "class-1", "class-2", "class-3")),
        (("ana", "ANA", "cleo", "dora"), ("class-0", "class-1", "class-2", "class-3")),
        ((), ("class-0", "class-1", "class-2", "class-3")),
    ],
)
def test_owners_are_called_as_in_training_if_their_names_differ(data, names, called):
    named = replace(data, names=names)
    assert deal(named, Choice(0)).owners == called
    drawn = deal(named, Choice(1, owners=2, part=Part.VALIDATION))
    for number, owner in enumerate(drawn.owners):
        own = data.take(data.labels == called.index(owner))
        assert pictures(drawn.train[number]) <= pictures(as_bytes(own))


def test_the_sets_own_test_part_is_kept_out_of_validation(data):
    official = torch.arange(len(data)) % 5 == 0
    marked = Labelled(data.images, data.labels, {"is_test": official.long()})
    validation = deal(marked, Choice(0, part=Part.VALIDATION))
    kept_out = (data.images[official] * 255).round().byte().numpy()
    assert not pictures(validation.images) & pictures(kept_out)


def test_a_fact_can_say_what_is_asked(data):
    parts = deal(data, Choice(0, group="page", where=("page", 2)))
    assert set(parts.pages) == {2} and len(parts.images) == len(data) // PAGES


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(0, owners=5), "4 classes"),
        (Choice(0, where=("colour", 1)), "no such fact"),
        (Choice(0, where=("page", 9)), "all or nothing"),
    ],
)
def test_a_set_that_cannot_be_dealt_out_is_refused(data, choice, message):
    with pytest.raises(ConfigError, match=message):
        deal(data, choice)


# --- Figures --------------------------------------------------------------------------------------


def test_figures_of_a_case_counted_by_hand():
    truth, answers = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, -1, 0])
    found = identify_figures.figures(truth, answers, ["a", "b", "c"])
    assert found.macro_recall == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found.macro_precision == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert found.accuracy == pytest.approx(3 / 6)
    assert found.confusion == ((2, 1, 0, 0), (0, 1, 0, 1), (1, 0, 0, 0))
    assert [each.answered for each in found.per_owner] == [3, 2, 0]


def test_top_3_counts_an_owner_that_came_third_but_not_fourth():
    errors = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4]])
    assert identify_figures.top(errors, np.array([2, 3])) == 0.5


def test_strangers_are_told_apart_where_only_registered_owners_fit_well():
    truth = np.repeat(np.arange(4), 10)
    errors = np.full((40, 4), 5.0) + np.arange(4) / 100
    errors[np.arange(40), truth] = 1.0
    thresholds = np.full(4, 2.0)
    known = identify_figures.known(errors, truth, thresholds, seed=0)
    assert known.auroc_known == known.auroc_margin == known.auroc_best == 1
    assert known.precision == 1
    assert known.recall == 1 and known.false_accept == 0
    loose = identify_figures.known(errors, truth, np.full(4, 9.0), seed=0)
    assert loose.precision == 0.5 and loose.false_accept == 1


def test_the_mean_of_all_tells_strangers_that_the_second_best_does_not():
    # Everybody resembles the next owner: 1 for one's own model, 2 for the next one's, else 8. Of a
    # stranger whose next is registered 2 is best and 8 second, better than 1 and 2.
    truth = np.repeat(np.arange(8), 5)
    errors = np.full((40, 8), 8.0)
    errors[np.arange(40), truth] = 1.0
    errors[np.arange(40), (truth + 1) % 8] = 2.0
    found = identify_figures.known(errors, truth, np.full(8, 1.5), seed=0)
    assert found.auroc_mean == 1 > found.auroc_margin
    assert found.auroc_margin <= found.auroc_known <= 1


def test_votes_are_of_one_page_and_leftovers_are_not_asked():
    errors = np.array([[1.0, 0], [0, 9], [5, 5], [2, 0], [0, 1]])
    truth, pages = np.array([0, 0, 0, 1, 1]), np.array([7, 7, 7, 3, 4])
    sums, owners = identify_figures.voted(errors, truth, pages, 2)
    assert owners.tolist() == [0] and sums.tolist() == [[1.0, 9.0]]


# --- A whole measurement --------------------------------------------------------------------------


def test_digits_are_told_apart_and_so_do_the_baselines(file, data):
    request = request_of(file, baselines=("pca", "knn"), choice=Choice(0, group="page"), words=5)
    (row,) = identify.measure(request, data, [0], Results("x", {}), quiet)
    assert row.macro_recall > 0.9 and row.top3 >= row.accuracy
    assert row.voting.macro_recall >= row.macro_recall
    assert row.auroc_known > 0.8
    assert row.agreement == Agreement(fixed_plain=1.0, queries=10)
    assert {name: found.macro_recall > 0.8 for name, found in row.baselines.items()} == {
        "pca": True,
        "knn": True,
    }
    assert np.array(row.confusion).sum() == row.asked == len(data) // PAGES


def test_a_fixed_point_engine_answers_everything(file, data):
    request = request_of(file, engine="fixed")
    (row,) = identify.measure(request, data, [0], Results("x", {}), quiet)
    assert row.agreement.queries == row.asked
    assert row.agreement.fixed_plain > 0.95


def test_the_pooled_network_learns_repeatably_from_its_generator(data):
    parts = deal(data, Choice(0))
    small = ImageShape(height=16, width=16, channels=1)
    first = identify_baselines.cnn(parts, small, 0, steps=40)(parts.images)
    torch.rand(3)  # the global generator must not matter
    again = identify_baselines.cnn(parts, small, 0, steps=40)
    assert np.array_equal(first, again(parts.images))
    assert np.array_equal(first[:5], again(parts.images[:5]))
    assert (first == parts.labels).mean() > 0.5


def test_a_resumed_measurement_measures_only_what_is_missing(file, data, tmp_path):
    path, request = tmp_path / "rows.json", request_of(file)
    (first,) = identify.measure(request, data, [4], Results("x", {}, path), quiet)
    resumed = Results("x", {}, path, resume=True)
    again = list(identify.measure(request, data, [4, 5], resumed, quiet))
    assert again[0] == first and again[1].seed == 5
    mean = summary(again)
    assert mean["accuracy"] == pytest.approx((again[0].accuracy + again[1].accuracy) / 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"engine": "crypten"}, "engine"),
        ({"baselines": ("svm",)}, "baseline"),
        ({"words": 5}, "group"),
        ({"choice": Choice(0, owners=1)}, "nobody to compare with.*--rivals and --strangers"),
    ],
)
def test_a_request_that_means_nothing_is_refused(file, changes, message):
    with pytest.raises(ConfigError, match=message):
        request_of(file, **changes)


def test_one_owner_is_measured_against_strangers_and_public_rivals(file, data, tmp_path):
    """The others' images are the strangers here, and some of them the rivals."""
    spec = preset("subspace32", height=32, width=32, channels=1, components=8)
    parts = deal(data, Choice(0, owners=1))
    (mine,) = parts.owners
    others = data.take(data.labels != owners_of(data).index(mine))
    rows = features.extract(spec, fit(as_bytes(others), spec.image_shape))[::40]
    public = tmp_path / "rivals.npz"
    rivals.write(public, Rivals.of(rows, spec.input_shape), spec)
    asked = {"choice": Choice(0, owners=1), "strangers": file, "rivals": public, "margin": 1.0}
    request = request_of(file, preset="subspace32", **asked)
    (row,) = identify.measure(request, data, [0], Results("x", {}), quiet, None, others)
    assert row.owners == 1 and row.strangers.tar_at_margin.share > 0.9
    assert row.strangers.far_at_margin.share < 0.5


# --- Models that take training steps --------------------------------------------------------------


def test_models_are_trained_side_by_side_and_gone_on_with(file, data, tmp_path):
    request = request_of(file, preset="ran32", components=None, steps=10, choice=Choice(0, 2))
    (serial,) = identify.measure(request, data, [0], Results("x", {}), quiet)
    seen, stopped = [], []

    def stop(doing, done, _total):
        if doing.startswith("fixed") and not stopped:
            stopped.append(doing)
            raise KeyboardInterrupt

    training = Training(tmp_path / "models", processes=2, watch=lambda *now: seen.append(now[:2]))
    with pytest.raises(KeyboardInterrupt):
        list(identify.measure(request, data, [0], Results("x", {}), stop, training))
    kept = sorted(file.name for file in (tmp_path / "models" / "seed-0" / "ran32").iterdir())
    assert kept == [f"{each.owner}.ran" for each in serial.per_owner]
    assert {step for _, step in seen} == {10}
    seen.clear()
    again = replace(training, resume=True)
    (row,) = identify.measure(request, data, [0], Results("x", {}), quiet, again)
    assert not seen
    for name in ("confusion", "macro_recall", "known"):
        assert getattr(row, name) == getattr(serial, name)
    assert not (tmp_path / "models").exists()


def test_the_adversarial_term_is_one_of_the_settings_of_a_network(file, data):
    request = request_of(file, preset="ran32", components=None, choice=Choice(0, 2))
    spec = preset("ran32")
    usual = cohort.settings_of(request, spec, 0)
    other = replace(request, adversarial_weight=0.1, adversarial_loss="hinge")
    changed = cohort.settings_of(other, spec, 0)
    assert changed == replace(usual, adversarial_weight=0.1, adversarial_loss="hinge")
    assert other.settings() == request.settings() | {
        "adversarial_weight": 0.1,
        "adversarial_loss": "hinge",
    }
    with pytest.raises(ConfigError, match="subspace32 is fitted in closed form"):
        cohort.settings_of(other, preset("subspace32"), 0)
    with pytest.raises(ConfigError, match="adversarial_loss"):
        cohort.settings_of(replace(request, adversarial_loss="l1"), spec, 0)


def test_models_are_left_where_that_is_asked_for(file, data, tmp_path):
    training = Training(tmp_path / "models", keep=True)
    request = request_of(file, baselines=("paper:1",))
    (row,) = identify.measure(request, data, [3], Results("x", {}), quiet, training)
    assert 0 < row.baselines["paper:1"].macro_recall <= row.macro_recall
    baseline = tmp_path / "models" / "seed-3" / "baseline" / "paper"
    assert {checkpoint.load(file).facts["steps"] for file in baseline.iterdir()} == {"1"}
    files = sorted((tmp_path / "models" / "seed-3" / "subspace32-fine").iterdir())
    assert [checkpoint.load(file).owner for file in files] == [file.stem for file in files]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize("name", ["paper:0", "paper:many", "paper:-1", "pca:3"])
def test_a_baseline_takes_a_number_of_steps_only_where_that_means_something(file, name):
    with pytest.raises(ConfigError, match="baseline"):
        request_of(file, baselines=(name,))
