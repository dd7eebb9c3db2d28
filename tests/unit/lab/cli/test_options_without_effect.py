"""What would change nothing is refused, and the refusal names the option."""

import re

import numpy as np
import pytest
from typer.testing import CliRunner

from privedge.cli.main import build
from tests.onnx_files import convolutional


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Files of vectors and of pictures, an encoder and a spec, by name."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 8)
    rows = (rng.normal(size=(6, 1, 16)) + rng.normal(size=(6, 8, 16)) / 4).reshape(-1, 16)
    np.savez(folder / "vectors.npz", vectors=rows, labels=labels)
    pictures = rng.integers(0, 256, (48, 28, 28), dtype=np.uint8)
    facts = {"page": np.arange(48) % 4, "hand": np.arange(48) % 2}
    np.savez(folder / "pictures.npz", images=pictures, labels=labels, **facts)
    encoder = convolutional(folder / "encoder.onnx")
    spec = folder / "spec.json"
    made = CliRunner().invoke(build(), ["encoder", "wrap", str(encoder), "--out", str(spec)])
    assert made.exit_code == 0, made.output
    return folder


VECTORS, PICTURES = "evaluate identify --data vectors.npz", "evaluate identify --data pictures.npz"
SPEC = "--spec spec.json --encoder encoder.onnx"
CALIBRATE = "calibrate --own vectors.npz --strangers vectors.npz"


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (f"{VECTORS} --baselines cnn", "baselines cnn"),
        (f"{VECTORS} --baselines knn,paper:5", "baselines paper:5"),
        (f"{PICTURES} --unit-length {SPEC}", "unit length"),
        (f"{PICTURES} --group page --test-where hand=1", "group, test-where"),
        (f"{PICTURES} --detector encoder.onnx", "detector"),
        (f"{PICTURES} --resume", "--resume"),
        ("evaluate scale --data pictures.npz --out out --no-private --queries 3", "--queries"),
        (f"{CALIBRATE} --largest-face", "largest face"),
        (f"{CALIBRATE} --config none.toml", "--config"),
        ("attack extraction --data vectors.npz --preset subspace64", "--preset"),
        ("attack extraction --data vectors.npz --encoder encoder.onnx", "--encoder"),
        (f"attack membership --data pictures.npz --preset conv32 {SPEC}", "--preset"),
        (f"attack party --data pictures.npz --preset conv32 {SPEC}", "--preset"),
        (f"attack poisoning --data pictures.npz --preset subspace32 {SPEC}", "--preset"),
        ("attack poisoning --honest --unchecked", "--unchecked"),
        ("attack poisoning --detector encoder.onnx", "--detector"),
        ("attack attributes --data pictures.npz --private hand --repeat fixed", "--repeat"),
        ("attack party --data pictures.npz --resume", "--resume"),
        ("split train pictures.npz --cut relu2 --out out --private hand", "--private"),
        ("split train pictures.npz --cut relu2 --out out --strength 0.5", "--strength"),
        ("split train pictures.npz --cut relu2 --out out --network n.json --preset face", "preset"),
        ("split sweep pictures.npz --cuts relu2 --strengths noise=0.5", "strengths noise="),
        ("split sweep pictures.npz --cuts relu2 --strengths 0.5", "strengths without a name"),
    ],
)
def test_an_option_without_effect_is_refused(given, tmp_path, monkeypatch, command, named):
    monkeypatch.chdir(given)
    done = CliRunner().invoke(build(), command.replace("--out out", f"--out {tmp_path}").split())
    said = done.output if isinstance(done.exception, SystemExit) else str(done.exception)
    assert done.exit_code in (1, 2)
    assert named in " ".join(re.sub(r"[│╭╰─]", " ", said).split())


def test_a_spec_takes_the_place_of_a_commands_own_preset(given, monkeypatch):
    """It was refused where the command's own preset was another than `auto`."""
    monkeypatch.chdir(given)
    command = f"attack poisoning --tries 1 --honest {SPEC} --seed 1"
    done = CliRunner().invoke(build(), command.split())
    assert done.exit_code == 0 and "honest models refused: " in done.stdout, done.output


def test_vectors_are_compared_with_what_compares_vectors(given, monkeypatch):
    monkeypatch.chdir(given)
    done = CliRunner().invoke(build(), VECTORS.split())
    assert "baseline knn: " in done.stdout and "baseline pca" not in done.stdout
