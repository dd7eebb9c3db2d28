"""`privedge attack poisoning`, as a user runs it: on the digits, behind an encoder, on faces."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge_lab.demo import digits
from tests import drawn_faces, onnx_files

FEW = ("--owners", 2, "--tries", 2, "--json")


def poisoning(*options: object):
    return CliRunner().invoke(build(), ["attack", "poisoning", *map(str, (*FEW, *options))])


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """Digits of eight classes, and two more."""
    folder = tmp_path_factory.mktemp("sets")
    given = digits.load(0).train_images
    images = np.concatenate([given[digit][:12] for digit in range(8)])
    np.savez(folder / "own.npz", images=images, labels=np.repeat(np.arange(8), 12))
    others = np.concatenate([given[digit][:20] for digit in (8, 9)])
    np.savez(folder / "others.npz", images=others, labels=np.repeat(np.arange(2), 20))
    return folder


def test_models_behind_an_encoder_are_checked_and_attacked(sets, tmp_path):
    encoder = onnx_files.convolutional(tmp_path / "encoder.onnx", values=16)
    own = ("--data", sets / "own.npz", "--probes", sets / "others.npz")
    done = poisoning(*own, "--preset", "subspace-encoder", "--encoder", encoder)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    rows = {row["model"]: row for row in found["rows"]}
    assert found["honest"]["classes"] == 8
    # An architecture of its own, and rows that are no basis, are refused whatever the probes say.
    assert not any(rows[name]["admitted"] for name in ("identity", "wide", "stretched", "far"))
    assert rows["none"]["honest_recall"] > 0.5 and rows["none"]["integrity_errors"] == 0


def test_faces_are_cut_out_of_owners_pictures_and_of_probes(tmp_path):
    encoder = drawn_faces.encoder(tmp_path / "e.onnx")
    detector = drawn_faces.detector(tmp_path / "d.onnx")
    rng = np.random.default_rng(0)
    people = [
        np.asarray(drawn_faces.person(n // 6, tuple(rng.integers(9, 30, 2) * 8.0), seed=n))
        for n in range(30)
    ]
    np.savez(tmp_path / "people.npz", images=np.stack(people), labels=np.arange(30) // 6)
    line = ("--data", tmp_path / "people.npz", "--probes", tmp_path / "people.npz", "--honest")
    files = ("--preset", "subspace-encoder", "--encoder", encoder, "--detector", detector)
    done = poisoning(*line, *files)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["rows"] == [] and found["honest"]["classes"] == 5


def test_digits_have_no_faces(tmp_path):
    encoder = drawn_faces.encoder(tmp_path / "e.onnx")
    detector = drawn_faces.detector(tmp_path / "d.onnx")
    options = ("--preset", "subspace-encoder", "--encoder", encoder, "--detector", detector)
    refused = poisoning(*options)
    assert refused.exit_code == 2 and "the digits have no" in refused.output
