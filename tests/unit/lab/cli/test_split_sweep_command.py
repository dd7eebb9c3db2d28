"""`privedge split sweep` and `privedge attack partitioning`, as a user runs them."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import PrivEdgeError
from privedge.ran.images import fit
from privedge.ran.spec import ImageShape
from privedge_lab.evaluation.sheets import CAPTION_WIDTH, GAP, load, strip


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    data = load_digits()
    small = np.rint(data.images[:150] * (255 / 16)).astype(np.uint8)
    images = fit(small, ImageShape(height=28, width=28, channels=1))
    labels = data.target[:150].astype(np.int64)
    np.savez(path, images=images, labels=labels, digit=labels, even=labels % 2)
    return path


MANY = ("--task", "digit>many")


def privedge(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


def sweep(digits, *more: object) -> Result:
    quick = ("--epochs", 1, "--iterations", 3, "--images", 4, "--attacks", "white-box")
    return privedge("split", "sweep", digits, "--cuts", "conv1,relu2", *quick, *more)


def test_rows_on_disk_on_screen_and_as_a_figure(digits, tmp_path):
    out, figure, sheet = (tmp_path / name for name in ("rows.json", "depth.png", "sheet.png"))
    result = sweep(digits, "--out", out, "--figure", figure, "--sheet", sheet, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document == json.loads(out.read_text())
    assert [row["cut"] for row in document["rows"]] == ["conv1", "relu2"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    # Originals and two reconstructions below each other, four images wide, captions to their left.
    row = strip(torch.zeros(4, 1, 28, 28)).repeat(2, axis=0).repeat(2, axis=1)
    height, width, _ = load(sheet).shape
    assert (height, width) == (3 * len(row) + 2 * GAP, CAPTION_WIDTH + row.shape[1])
    again = sweep(digits, "--out", out)
    assert isinstance(again.exception, PrivEdgeError) and "--resume" in str(again.exception)
    resumed = sweep(digits, "--out", out, "--resume")
    assert resumed.stdout.count("white-box:") == 2


@pytest.mark.parametrize(
    "more, message",
    [
        (("--defences", "gaussian", "--strengths", "gaussian=much"), "write numbers"),
        (("--defences", "gaussian"), "give it strengths"),
        (("--defences", "magic", "--strengths", "1"), "no such defence"),
    ],
)
def test_a_wrong_option_is_one_line(digits, more, message):
    result = sweep(digits, *more)
    assert isinstance(result.exception, PrivEdgeError) and message in str(result.exception)


def test_a_task_that_is_not_a_comparison_is_one_line(digits):
    result = privedge("attack", "partitioning", "--data", digits, "--private", "even", *MANY)
    assert isinstance(result.exception, PrivEdgeError) and "age:35" in str(result.exception)


@pytest.mark.parametrize("command", [("split", "sweep"), ("attack", "partitioning")])
def test_help_has_an_example(command):
    assert "Example" in privedge(*command, "--help").output
