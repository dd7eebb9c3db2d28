"""`privedge evaluate original`, as a user runs it."""

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import ConfigError, PrivEdgeError
from privedge_lab.demo import digits
from privedge_lab.evaluation import original


@pytest.fixture
def file(tmp_path):
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:20] for digit in range(3)])
    np.savez(tmp_path / "digits.npz", images=images, labels=np.repeat(np.arange(3), 20))
    return tmp_path / "digits.npz"


def evaluate(file, *more: object) -> Result:
    fixed = ("--data", file, "--out", file.parent / "out", "--steps", 1)
    return CliRunner().invoke(build(), ["evaluate", "original", *map(str, (*fixed, *more))])


def test_json_has_the_final_figures_and_the_file_the_rows(file):
    small = ("--owners", 2, "--points", 1, "--batch", 1, "--device", "cpu")
    found = json.loads(evaluate(file, *small, "--json").stdout)
    assert found["preset"] == "paper" and found["published_steps"] == original.PUBLISHED_STEPS
    assert set(found["baselines"]) == {"subspace32-fine", "pca"}
    stored = json.loads((file.parent / "out" / "original.json").read_text())
    assert [row.get("owner") for row in stored["rows"][:2]] == list(found["steps"])
    assert stored["rows"][-1]["macro_recall"] == found["macro_recall"]
    assert isinstance(evaluate(file, *small).exception, ConfigError)
    said = evaluate(file, *small, "--resume").stdout
    assert "published: 30000 of 128" in said and "subspace32-fine" in said


def test_a_sitting_that_ended_says_how_to_go_on(file):
    small = ("--owners", 2, "--points", 1, "--batch", 1, "--device", "cpu", "--resume")
    small = (*small, "--steps", 2)
    said = evaluate(file, *small, "--minutes", 1e-9).stdout
    assert "0 to 1 steps" in said and "the same command with --resume goes on" in said
    assert "--resume" not in evaluate(file, *small).stdout
    assert {path.name for path in (file.parent / "out").iterdir()} == {"models", "original.json"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--owners", 9), "owners"),
        (("--beside", "resnet"), "preset"),
        pytest.param(
            ("--device", "cuda"),
            "no CUDA",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here"),
        ),
    ],
)
def test_a_mistake_ends_in_one_line(file, options, message):
    error = evaluate(file, *options).exception
    assert isinstance(error, PrivEdgeError) and message in str(error)
