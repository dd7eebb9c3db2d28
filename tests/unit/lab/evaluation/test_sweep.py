"""A sweep's rows: each with what names it, resumed without measuring twice, drawn as a figure."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from privedge.errors import ConfigError
from privedge_lab.attacks.attributes import AttackerSettings
from privedge_lab.baseline.spec import Conv, Linear, NetworkSpec, Plain
from privedge_lab.baseline.train import TrainSettings
from privedge_lab.datasets import from_arrays, split
from privedge_lab.evaluation import figures
from privedge_lab.evaluation.sweep import measure
from privedge_lab.evaluation.sweep_plan import Choice, Plan, choices
from privedge_lab.results.rows.sweep import SweepRow
from privedge_lab.results.store import Results

SPEC = NetworkSpec(
    name="small",
    input=(1, 16, 16),
    mean=(0.5,),
    std=(0.5,),
    classes=10,
    layers=(
        Conv(name="conv1", inputs=1, outputs=12, kernel=3, stride=2, padding=1),
        Plain(name="relu1", kind="relu"),
        Plain(name="flat", kind="flatten"),
        Linear(name="fc1", inputs=768, outputs=32),
        Plain(name="relu2", kind="relu"),
        Linear(name="fc2", inputs=32, outputs=10),
    ),
)
CHOICES = choices(("conv1", "fc1"), ("feature-dropout",), {"": (0.6,)})


@pytest.fixture(scope="module")
def parts():
    data = load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8).repeat(2, 1).repeat(2, 2)
    facts = {"round": np.isin(data.target, (0, 6, 8, 9)).astype(np.int64)}
    return split(from_arrays(pixels, data.target, facts), seed=1)


def plan(**changes):
    common = {
        "spec": SPEC,
        "choices": CHOICES,
        "training": TrainSettings(epochs=2),
        "images": 16,
        "known": 200,
        "iterations": 100,
        "attackers": AttackerSettings(seeds=(0,), epochs=12),
        "attack_epochs": 6,
        "attacks": ("white-box",),
    }
    return Plan(**(common | changes))


@pytest.fixture(scope="module")
def rows(parts):
    return list(measure(plan(private="round"), parts, Results("sweep", {})))


def only(rows, **wanted):
    (row,) = (
        row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())
    )
    return row


def test_every_row_says_what_it_is_of(rows):
    assert {(row.cut, row.defence, row.strength) for row in rows} == {
        (cut, defence, strength)
        for cut in ("conv1", "fc1")
        for defence, strength in (("none", 0.0), ("feature-dropout", 0.6))
    }
    assert all(
        {"seed", "images", "task_accuracy", "attack"} <= row.to_json().keys() for row in rows
    )
    assert only(rows, cut="conv1", defence="none", attack="white-box").task_accuracy > 0.8


def test_a_dense_layer_on_the_device_and_dropping_both_leak_less(rows):
    shallow = only(rows, cut="conv1", defence="none", attack="white-box")
    deep = only(rows, cut="fc1", defence="none", attack="white-box")
    assert shallow.psnr_db > 20 > deep.psnr_db
    dropped = only(rows, cut="conv1", defence="feature-dropout", attack="white-box")
    assert dropped.psnr_db < shallow.psnr_db - 10


def test_an_attacker_who_knows_of_the_dropping_gets_more(rows):
    dropped = {"cut": "conv1", "defence": "feature-dropout"}
    masked = only(rows, attack="white-box-masked", **dropped)
    assert masked.psnr_db > only(rows, attack="white-box", **dropped).psnr_db + 3


def test_the_attribute_attack_stands_beside_its_majority(rows):
    row = only(rows, cut="conv1", defence="none", attack="attribute")
    assert row.attacker_accuracy > row.majority + 0.1
    assert row.private == "round"


def test_resuming_measures_only_what_is_missing(parts, tmp_path):
    path = tmp_path / "rows.json"
    one = (Choice("conv1", "none", 0.0),)
    small = {"training": TrainSettings(epochs=1), "images": 2, "iterations": 2}
    list(measure(plan(choices=one, **small), parts, Results("sweep", {}, path)))
    results, seen = Results("sweep", {}, path, resume=True), []
    both = (*one, Choice("conv1", "gaussian", 0.5))
    list(measure(plan(choices=both, **small), parts, results, keep=seen.append))
    assert [row.defence for row in results.read(SweepRow)] == ["none", "gaussian"]
    assert [each.row.defence for each in seen] == ["gaussian"]
    assert seen[0].found.shape == seen[0].originals.shape == (2, 1, 16, 16)


def test_black_box_attackers_have_devices_of_their_own(parts):
    one = (Choice("conv1", "gaussian", 0.1),)
    settings = {"attacks": ("black-box",), "attack_epochs": 35}
    (row,) = measure(plan(choices=one, **settings), parts, Results("sweep", {}))
    assert row.psnr_db > row.mean_image_psnr_db + 1


def test_a_device_that_draws_afresh_tells_more_each_time_it_is_asked(parts):
    def solved(asked, repeat):
        one = (Choice("conv1", "dropping", 0.8),)
        settings = {"attacks": ("pseudo-inverse",), "asked": asked, "repeat": repeat, "images": 4}
        (row,) = measure(plan(choices=one, **settings), parts, Results("sweep", {}))
        return row.psnr_db

    assert solved(1, "fresh") < 30
    # Of 768 values, 98 % have come at least once after 16 answers: more than the 256 pixels.
    assert solved(16, "fresh") > 50
    assert solved(16, "per-input") < 30


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"attacks": ("magic",)}, "no such attack; there are white-box"),
        ({"private": "age"}, "no such fact; there are round"),
        ({"choices": (Choice("fc9", "none", 0.0),)}, "no such cut; small has conv1"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(parts, changes, message):
    with pytest.raises(ConfigError, match=message):
        list(measure(plan(**changes), parts, Results("sweep", {})))


def test_defences_need_strengths_in_range():
    with pytest.raises(ConfigError, match="gaussian: give it strengths"):
        choices(("conv1",), ("gaussian",), {})
    with pytest.raises(ConfigError, match="dropping: strength"):
        choices(("conv1",), ("dropping",), {"dropping": (1.5,)})


def test_figures_show_depth_and_cost(rows, tmp_path):
    path = tmp_path / "sweep.png"
    figures.write(rows, path)
    with Image.open(path) as picture:
        # One panel for depth, one for each of two cuts.
        assert picture.width > 2.5 * picture.height


def test_a_figure_of_nothing_is_refused(rows, tmp_path):
    lonely = [only(rows, cut="conv1", defence="none", attack="white-box")]
    with pytest.raises(ConfigError, match="nothing to draw"):
        figures.write(lonely, tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()


def test_the_strongest_attack_counts(rows):
    best = figures.strongest([row for row in rows if row.psnr_db is not None])
    assert only(best, cut="conv1", defence="feature-dropout").attack == "white-box-masked"
    assert len(best) == 4
