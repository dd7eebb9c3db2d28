"""`privedge evaluate robustness`, as a user runs it, on scikit-learn's digits."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import ConfigError, PrivEdgeError
from privedge_lab.demo import digits


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:20] for digit in range(3)])
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images, labels=np.repeat(np.arange(3), 20))
    return path


def evaluate(file, out, *more: object) -> Result:
    fixed = ("--data", file, "--out", out, "--components", 8, "--baselines", "knn")
    arguments = ["evaluate", "robustness", *map(str, (*fixed, *more))]
    # A narrow terminal must not cut figures off.
    return CliRunner(env={"COLUMNS": "40"}).invoke(build(), arguments)


def test_json_has_a_mean_for_each_level_and_the_file_a_row_for_each_seed(file, tmp_path):
    out = tmp_path / "out"
    found = json.loads(
        evaluate(file, out, "--disturb", "jpeg:5,noise:90", "--seed", "1,2", "--json").stdout
    )
    levels = found["levels"]
    assert [(each["disturbance"], each["level"]) for each in levels] == [
        *(("none", 0), ("jpeg", 5), ("noise", 90))
    ]
    assert levels[0]["macro_recall"] > 0.8 and levels[0]["auroc_known"] is None
    stored = json.loads((out / "robustness.json").read_text())
    assert stored["experiment"] == "robustness" and stored["command"] == found["command"]
    assert len(stored["rows"]) == 6 and stored["settings"] == found["settings"]
    noisy = [row["macro_recall"] for row in stored["rows"] if row["disturbance"] == "noise"]
    assert np.mean(noisy) == pytest.approx(levels[2]["macro_recall"])


def test_text_has_the_change_against_none_and_more_levels_can_be_added(file, tmp_path):
    out = tmp_path / "out"
    said = evaluate(file, out, "--disturb", "jpeg:5").stdout
    assert "jpeg 5" in said and "+0.000" in said and str(out / "robustness.json") in said
    assert isinstance(evaluate(file, out).exception, ConfigError)
    said = evaluate(file, out, "--disturb", "brightness:0.01", "--resume").stdout
    dark = next(line for line in said.splitlines() if "brightness 0.01" in line)
    assert " -0." in dark and "…" not in said
    assert len(json.loads((out / "robustness.json").read_text())["rows"]) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--disturb", "fog"), "fog"),
        (("--disturb", "jpeg:0"), "quality"),
        (("--seed", "x"), "seed"),
    ],
)
def test_a_mistake_ends_in_one_line(file, tmp_path, options, message):
    error = evaluate(file, tmp_path / "out", *options).exception
    assert isinstance(error, PrivEdgeError) and message in str(error)
    assert not (tmp_path / "out").exists()
