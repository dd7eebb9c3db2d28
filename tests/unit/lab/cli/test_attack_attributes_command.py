"""`privedge attack attributes` on what crosses whole: vectors, and features of a public encoder."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import ConfigError
from tests.onnx_files import digest, mean_colour


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Pictures and vectors of which a fact can be told by red, and whose task goes with green."""
    folder = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    fact, task = rng.integers(0, 2, (2, 240))
    colours = np.stack([90 + 80 * fact, 90 + 80 * task, np.full(240, 90)], axis=1)
    colours = colours + rng.normal(0, 12, (240, 3))
    pictures = colours[:, None, None] + rng.integers(-40, 40, (240, 32, 32, 3))
    np.savez(folder / "pictures.npz", images=pictures.astype(np.uint8), labels=task, hand=fact)
    np.savez(folder / "vectors.npz", vectors=colours / 100, labels=task, hand=fact)
    mean_colour(folder / "encoder.onnx")
    return folder


def attributes(*options: object):
    arguments = ("attack", "attributes", "--private", "hand", "--json", *options)
    return CliRunner().invoke(build(), [*map(str, arguments)])


@pytest.mark.parametrize("kind", ["pictures", "vectors"])
def test_what_features_give_away_is_measured_beside_the_answers(sets, tmp_path, kind):
    options = ["--data", sets / f"{kind}.npz"]
    options += ["--encoder", sets / "encoder.onnx"] if kind == "pictures" else []
    done = attributes(*options, "--out", tmp_path / "rows.json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    (row,) = document["rows"]
    assert (row["cut"], row["defence"], row["images"]) == ("features", "none", 48)
    assert row["preset"] == {"pictures": "subspace-encoder", "vectors": "vector"}[kind]
    # The vectors tell both; the answers tell nothing of what does not go with the task.
    assert row["accuracy"] > 0.95 and row["task_accuracy"] > 0.95
    assert row["floor_accuracy"] < 0.8
    named = document["settings"].get("encoder_sha256")
    assert named == (digest(sets / "encoder.onnx") if kind == "pictures" else None)
    again = attributes(*options, "--out", tmp_path / "rows.json", "--resume")
    assert json.loads(again.stdout) == document


def test_what_a_cut_network_has_is_refused_where_none_is_cut(sets):
    refused = attributes("--data", sets / "vectors.npz", "--defence", "gaussian")
    assert refused.exit_code == 2 and "--defence" in refused.output
    refused = attributes("--data", sets / "vectors.npz", "--encoder", sets / "encoder.onnx")
    assert isinstance(refused.exception, ConfigError) and "by an encoder" in str(refused.exception)
