"""`privedge evaluate scale` and `fairness`, as a user runs them, on scikit-learn's digits."""

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
    images = np.concatenate([given[digit][:20] for digit in range(4)])
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, images=images, labels=np.repeat(np.arange(4), 20))
    return path


def evaluate(what, file, out, *more: object) -> Result:
    arguments = ["evaluate", what, "--data", file, "--out", out, "--components", 4, *more]
    return CliRunner().invoke(build(), list(map(str, arguments)))


def test_scale_prints_means_by_number_of_owners_and_their_fit(file, tmp_path):
    out = tmp_path / "out"
    asked = ("--owners", "2,3,all", "--no-private", "--seed", "0,1")
    found = json.loads(evaluate("scale", file, out, *asked, "--json").stdout)
    assert [row["owners"] for row in found["sizes"]] == [2, 3, 4]
    assert found["seeds"] == [0, 1] and found["settings"]["private"] is False
    document = json.loads((out / "scale.json").read_text())
    rows = document["rows"]
    assert document["experiment"] == "scale" and len(rows) == 6
    least = [row["accuracy"] for row in rows if row["owners"] == 2]
    assert found["sizes"][0]["accuracy"] == pytest.approx(np.mean(least))
    assert found["fit"]["accuracy"]["points"] == 6
    assert isinstance(evaluate("scale", file, out, *asked).exception, ConfigError)
    said = evaluate("scale", file, out, *asked, "--resume").stdout
    assert "4 owners: macro recall" in said and "Each doubling" in said


def test_fairness_prints_what_each_thief_steals(file, tmp_path):
    out = tmp_path / "out"
    asked = ("--thieves", "identity", "--tries", 1)
    found = json.loads(evaluate("fairness", file, out, *asked, "--json").stdout)
    kinds = [(row["thief"], row["calibration"]) for row in found["thieves"]]
    assert len(kinds) == 8 and kinds[0] == ("none", "none") and kinds[4] == ("identity", "none")
    assert found["thieves"][4]["steal_rate"] == 1
    assert json.loads((out / "fairness.json").read_text())["experiment"] == "fairness"
    said = evaluate("fairness", file, out, *asked, "--resume").stdout
    assert "identity" in said and "100.0%" in said and "refuses 100% (0.00)" in said


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("scale", ("--owners", "2,9", "--no-private"), "4 classes"),
        ("scale", ("--owners", "many"), "owners"),
        ("fairness", ("--thieves", "burglar"), "burglar"),
        ("fairness", ("--tries", 4), "tries"),
    ],
)
def test_a_mistake_ends_in_one_line(file, tmp_path, what, options, message):
    error = evaluate(what, file, tmp_path / "out", *options).exception
    assert isinstance(error, PrivEdgeError) and message in str(error) and "\n" not in str(error)
