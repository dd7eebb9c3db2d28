"""`privedge encoder inspect` and `wrap`, on real ONNX files."""

import json
import shlex
from pathlib import Path

import pytest
from onnx import helper
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import ConfigError
from privedge.ran import spec_file
from privedge.ran.feature_kinds import Encoder, EncoderInput
from privedge.ran.presets import behind_encoder
from privedge.ran.spec import Dense, ImageShape, Subspace
from tests import drawn_faces
from tests.onnx_files import convolutional, digest, identity, saved


def encoder(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["encoder", *map(str, arguments)])


def inspected(path: Path) -> dict:
    result = encoder("inspect", path, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == (0 if found["verdict"] == "usable" else 1)
    return found


def test_what_a_file_takes_and_gives_is_shown(tmp_path):
    path = convolutional(tmp_path / "conv.onnx", stale=True, shape=[1, 3, 32, 32])
    found = inspected(path)
    assert found["sha256"] == digest(path)
    assert found["size"] == path.stat().st_size
    assert found["opsets"] == {"": 13}
    assert found["inputs"] == [{"name": "x", "kind": "float", "shape": [1, 3, 32, 32]}]
    assert found["taken_out"] == 5
    assert found["image"] == {"height": 32, "width": 32, "channels": 3}
    assert (found["layout"], found["batch"], found["output"]) == ("nchw", 1, [24])
    assert (found["verdict"], found["unit_length"], found["scaled_inside"]) == ("usable", False, [])
    text = encoder("inspect", path)
    assert digest(path) in text.stdout
    assert "verdict:    usable" in text.stdout


def test_a_file_that_scales_pixels_itself_is_seen(tmp_path):
    found = inspected(convolutional(tmp_path / "conv.onnx", scaled=True))
    assert found["scaled_inside"] == ["Sub 127.5", "Mul 0.0078125"]
    assert "--scale 1 --offset 0" in found["wrap"]


@pytest.mark.parametrize("made", [drawn_faces.detector, drawn_faces.random_detector])
def test_a_detector_is_called_one_in_a_plain_line(tmp_path, made):
    path = tmp_path / "detector.onnx"
    found = inspected(made(path) if made is drawn_faces.detector else made(path, 0))
    assert found["why"] == "is a detector of faces, not an encoder; give it as --detector"


def test_channels_last_and_unit_length_are_seen(tmp_path):
    last = inspected(identity(tmp_path / "last.onnx", shape=["n", 16, 24, 3]))
    assert last["layout"] == "nhwc"
    flat = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("LpNormalization", ["flat"], ["y"], axis=1, p=2),
    ]
    found = inspected(saved(tmp_path / "flat.onnx", flat))
    assert found["unit_length"]
    assert "--unit-length" not in found["wrap"]


@pytest.mark.parametrize("content", [b"", b"not an ONNX file", bytes(range(256))])
def test_what_is_no_encoder_has_a_verdict_too(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    found = inspected(path)
    assert found["verdict"] == "not usable"
    assert found["why"]
    assert "not usable: " in encoder("inspect", path).stdout


def test_a_missing_file_is_named(tmp_path):
    result = encoder("inspect", tmp_path / "none.onnx")
    assert isinstance(result.exception, ConfigError)


def test_the_command_that_inspect_suggests_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    suggested = inspected(convolutional(Path("my conv.onnx"), scaled=True))["wrap"]
    result = encoder(*shlex.split(suggested)[2:])
    assert result.exit_code == 0, result.output
    spec = spec_file.read(tmp_path / "my conv.json")
    assert isinstance(spec.features, Encoder)
    assert spec.features.input == EncoderInput(scale=(1.0,), offset=(0.0,))
    assert spec.features.unit_length


def test_wrap_writes_the_spec_of_what_was_said(tmp_path):
    path, out = convolutional(tmp_path / "conv.onnx"), tmp_path / "spec.json"
    result = encoder(
        *("wrap", path, "--out", out, "--order", "bgr", "--scale", "1/255, 0.5,2"),
        *("--offset", "-1", "--unit-length", "--components", "7", "--json"),
    )
    assert result.exit_code == 0, result.output
    wants = EncoderInput(order="bgr", scale=(1 / 255, 0.5, 2), offset=(-1.0,))
    named = Encoder(sha256=digest(path), output=(24,), input=wants, unit_length=True)
    image = ImageShape(height=32, width=32, channels=3)
    spec = behind_encoder("subspace-encoder", named, image, components=7)
    assert spec_file.read(out) == spec
    said = json.loads(result.stdout)
    assert said == {"file": str(out), "digest": spec.digest(), "encoder": digest(path)}


def test_wrap_can_put_a_network_behind_it(tmp_path):
    path, out = convolutional(tmp_path / "conv.onnx"), tmp_path / "spec.json"
    assert encoder("wrap", path, "--out", out, "--preset", "ran-encoder").exit_code == 0
    layers = spec_file.read(out).layers
    assert [type(layer) for layer in layers[::2]] == [Dense, Dense]
    assert encoder("wrap", path, "--out", tmp_path / "sub.json").exit_code == 0
    usual = spec_file.read(tmp_path / "sub.json")
    assert usual.layers == (Subspace(components=4),)
    assert usual.features == Encoder(sha256=digest(path), output=(24,))


def test_wrap_replaces_no_other_file(tmp_path):
    path, out = convolutional(tmp_path / "conv.onnx"), tmp_path / "spec.json"
    assert encoder("wrap", path, "--out", out).exit_code == 0
    assert encoder("wrap", path, "--out", out).exit_code == 0  # the same again
    before = out.read_bytes()
    refused = encoder("wrap", path, "--out", out, "--order", "bgr")
    assert isinstance(refused.exception, ConfigError)
    assert out.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"conv.onnx", "spec.json"}


@pytest.mark.parametrize(
    "wrong",
    [
        ("--scale", "0"),
        ("--scale", "1,2"),
        ("--scale", "nan"),
        ("--scale", "1/0"),
        ("--offset", "1e999"),
        ("--offset", "a lot"),
        ("--size", "112"),
        ("--size", "4x4"),
        ("--layout", "chw"),
        ("--components", "0"),
    ],
)
def test_wrap_refuses_what_cannot_be_meant(tmp_path, wrong):
    path = convolutional(tmp_path / "conv.onnx")
    result = encoder("wrap", path, "--out", tmp_path / "spec.json", *wrong)
    assert result.exit_code == 2
    assert not (tmp_path / "spec.json").exists()
