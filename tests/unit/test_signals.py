"""tools/signals.py, and what can be done with its files, if they are in build/signals.

The files come from a package and are not kept here: `make signals DIR=build/signals` (.ci/run
does). What needs no such file is tested always.
"""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import ConfigError
from tools import signals, wheels

ROOT = Path(__file__).resolve().parents[2]
MADE = Path(os.environ.get("PRIVEDGE_SIGNALS", ROOT / "build" / "signals"))
here = pytest.mark.skipif(
    not (MADE / "voices.npz").exists(), reason="needs the files of `make signals DIR=build/signals`"
)
HEAD = "#A comment\n@problemName X\n@classLabel true 1 2\n@DATA\n"


def text(labels, channels, lengths, seed=0):
    """A file of the format .ts, with random series."""
    rng = np.random.default_rng(seed)
    rows = []
    for label, length in zip(labels, lengths, strict=True):
        values = rng.normal(size=(channels, length)).round(4)
        rows.append(":".join([*(",".join(map(str, row)) for row in values), label]))
    return HEAD + "\n".join(rows) + "\n\n"


def test_series_of_different_length_are_read():
    first, second = signals.series(text(["1", "2"], 3, [7, 9]))
    assert (first[0].shape, first[1]) == ((3, 7), "1")
    assert (second[0].shape, second[1]) == ((3, 9), "2")


def test_the_files_have_vectors_labels_and_the_authors_parts(tmp_path):
    wheel = tmp_path / "made.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for part, seed in (("TRAIN", 1), ("TEST", 2)):
            vowels, motions = text(["1", "2"], 12, [7, 20], seed), text(["Idle"], 6, [120], seed)
            archive.writestr(signals.INSIDE.format(name="JapaneseVowels", part=part), vowels)
            archive.writestr(signals.INSIDE.format(name="BasicMotions", part=part), motions)
    assert len(signals.write(tmp_path / "out", wheel)) == 2
    with np.load(tmp_path / "out" / "voices.npz") as held:
        assert held["vectors"].shape == (4, 60) and held["vectors"].dtype == np.float32
        assert held["labels"].tolist() == ["speaker-1", "speaker-2"] * 2
        assert held["is_test"].tolist() == [0, 0, 1, 1]
    with np.load(tmp_path / "out" / "motions.npz") as held:  # 120 samples are two windows
        assert held["vectors"].shape == (4, 96) and held["labels"].tolist() == ["idle"] * 4


def test_another_wheel_than_the_one_that_was_measured_is_refused():
    with pytest.raises(ConfigError, match="not the one that was measured"):
        wheels.require(b"another wheel", signals.PACKAGE.sha256, "aeon.whl")


def called(*arguments: object):
    done = CliRunner().invoke(build(), [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done


@here
@pytest.mark.parametrize(("name", "owners", "least"), [("voices", 9, 0.95), ("motions", 4, 0.97)])
def test_owners_are_told_apart_by_voices_and_motions(tmp_path, name, owners, least):
    """Trained by one command, and evaluated on the part that the authors keep for tests."""
    file = MADE / f"{name}.npz"
    trained = called("train-all", file, "--out", tmp_path / "models", "--json")
    assert len(json.loads(trained.stdout)["owners"]) == owners
    found = called("evaluate", "identify", "--data", file, "--preset", "vector", "--json")
    measured = json.loads(found.stdout)
    assert measured["owners"] == owners and measured["macro_recall"] >= least
    assert measured["macro_recall"] >= measured["baselines"]["knn"]["macro_recall"] - 0.01
