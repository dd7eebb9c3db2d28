"""`privedge evaluate bias`, as a user runs it, on scikit-learn's digits."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import PrivEdgeError
from privedge_lab.demo import digits


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:20] for digit in range(3)])
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images, labels=np.repeat(np.arange(3), 20), page=np.arange(60) % 2)
    return path


def evaluate(file, out, *more: object) -> Result:
    fixed = ("--data", file, "--out", out, "--components", 8, "--baselines", "knn")
    arguments = ["evaluate", "bias", *map(str, (*fixed, *more))]
    # A narrow terminal must not cut figures off.
    return CliRunner(env={"COLUMNS": "40"}).invoke(build(), arguments)


def test_json_has_a_mean_for_each_bias_and_says_what_was_left_out(file, tmp_path):
    out = tmp_path / "out"
    wanted = ("--per-owner", "3,50,all", "--train-where", "page=1", "--seed", "1,2", "--json")
    found = json.loads(evaluate(file, out, *wanted).stdout)
    biases = [(each["bias"], each["value"]) for each in found["biases"]]
    assert biases == [("images", 3), ("images", None), ("page", 1)]
    assert [each["seed"] for each in found["skipped"]] == [1, 2]
    assert "class-0 has 16 images" in found["skipped"][0]["reason"]
    stored = json.loads((out / "bias.json").read_text())
    assert stored["experiment"] == "bias" and stored["command"] == found["command"]
    everything = [row["accuracy"] for row in stored["rows"] if row["value"] is None]
    assert len(everything) == 2 and found["biases"][1]["accuracy"] == np.mean(everything)


def test_text_has_a_line_for_each_question_and_values_can_be_added(file, tmp_path):
    out = tmp_path / "out"
    said = evaluate(file, out, "--per-owner", "3,50").stdout
    assert "…" not in said and "images 3" in said and "left out (seed 0): images=50" in said
    said = evaluate(file, out, "--train-fact", "page", "--resume").stdout
    assert "page 0" in said and "page 1" in said and said.count("the same") == 2
    assert len(json.loads((out / "bias.json").read_text())["rows"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--per-owner"),
        (("--per-owner", "some"), "per-owner"),
        (("--per-owner", "500"), "has 16 images"),
        (("--train-fact", "colour"), "no such fact"),
        (("--train-where", "page"), "train-where"),
        (("--train-where", "colour=1"), "no such fact"),
    ],
)
def test_a_mistake_ends_in_one_line(file, tmp_path, options, message):
    error = evaluate(file, tmp_path / "out", *options).exception
    assert isinstance(error, PrivEdgeError) and message in str(error)
