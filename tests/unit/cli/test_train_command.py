"""`privedge train` on real image files, as a user runs it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import CheckpointError, PrivEdgeError, TrainingError
from privedge.ran import inputs
from privedge.ran.presets import preset
from privedge.user import checkpoint
from privedge.user.fitting import fit_ran
from privedge.user.saves import Saves
from privedge.user.settings import settings_for


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve grey 32 x 32 pictures of one tilting bar."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows, columns = np.mgrid[:32, :32]
    for index in range(12):
        distance = np.abs((columns - 16) * np.cos(index / 40) + (rows - 16) * np.sin(index / 40))
        pixels = np.where(distance < 4, 255, 0).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


# The network that `auto` picks takes seconds to train.
LINEAR = ("--preset", "subspace32-fine")


def privedge(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [str(argument) for argument in arguments])


@pytest.mark.parametrize(("count", "chosen"), [(12, "ran32-fine"), (4, "subspace32-fine")])
def test_a_folder_becomes_a_ran_and_one_line(photos, tmp_path, count, chosen):
    for picture in sorted(photos.iterdir())[count:]:
        picture.unlink()
    out = tmp_path / "ana.ran"
    steps = ("--steps", 5) if chosen.startswith("ran") else ()
    result = privedge("train", photos, "--owner", "ana", "--out", out, *steps)
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    ran = checkpoint.load(out)
    assert (ran.owner, ran.spec.name) == ("ana", chosen)


def test_json_states_what_was_trained(photos, tmp_path):
    out = tmp_path / "ana.ran"
    arguments = ("--preset", "ran32", "--steps", 5, "--device", "cpu", "--json")
    result = privedge("train", photos, "--owner", "ana", "--out", out, *arguments)
    summary = json.loads(result.stdout)
    assert summary.pop("seconds") > 0
    assert 0 < summary.pop("validation_mse") < 10
    assert summary == {
        "file": str(out),
        "owner": "ana",
        "preset": "ran32",
        "images": 12,
        "held_out": 1,
        "steps": 5,
        "parameters": 67_168,
    }


def test_an_npz_needs_its_label(photos, tmp_path):
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(photos.iterdir())])
    np.savez(tmp_path / "all.npz", images=pixels, labels=np.arange(12) % 2)
    out = tmp_path / "ana.ran"
    command = ("train", tmp_path / "all.npz", "--owner", "ana", "--out", out)
    assert "--label" in str(privedge(*command).exception)
    result = privedge(*command, "--label", 1, "--components", 3, "--json")
    assert json.loads(result.stdout)["images"] == 6
    assert checkpoint.load(out).parameters["0.basis"].shape == (3, 2048)


def test_w56_a_label_may_be_a_string_and_those_that_are_there_are_listed(photos, tmp_path):
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(photos.iterdir())])
    np.savez(tmp_path / "all.npz", images=pixels, labels=np.array(["ana", "bo"] * 6))
    command = ("train", tmp_path / "all.npz", "--owner", "ana", "--out", tmp_path / "ana.ran")
    assert "no image with label 1; it has ana, bo" in str(
        privedge(*command, "--label", 1).exception
    )
    done = privedge(*command, *LINEAR, "--label", "ana", "--json")
    assert json.loads(done.stdout)["images"] == 6


def test_an_encrypted_model_is_not_replaced_by_a_plain_one_unasked(photos, tmp_path):
    out = tmp_path / "ana.ran"
    (tmp_path / "key").write_bytes(bytes(range(32)).hex().encode())
    (tmp_path / "key").chmod(0o600)
    command = ("train", photos, "--owner", "ana", "--out", out, "--components", 3)
    assert privedge(*command, "--key-file", tmp_path / "key").exit_code == 0
    before = out.read_bytes()
    assert "is encrypted, and the new model would not be" in str(privedge(*command).exception)
    assert out.read_bytes() == before
    assert privedge(*command, "--force").exit_code == 0
    assert checkpoint.load(out).owner == "ana"


def test_w57_images_that_are_all_the_same_are_warned_of(tmp_path, caplog):
    for number in range(8):
        Image.new("L", (32, 32), 120).save(tmp_path / f"{number}.png")
    command = ("train", tmp_path, "--owner", "ana", "--out", tmp_path / "a.ran", *LINEAR)
    assert privedge(*command).exit_code == 0
    assert caplog.messages == ["ana: all 8 pictures are the same; add others"]


@pytest.mark.parametrize(
    ("arguments", "channels"),
    [
        (("--steps", 1), 1),
        (("--steps", 1, "--channels", 3), 3),
        ((*LINEAR, "--channels", 3), 3),
        (("--preset", "conv32", "--steps", 1, "--channels", 3), 3),
    ],
)
def test_an_owner_can_say_how_many_channels_to_train_for(photos, tmp_path, arguments, channels):
    out = tmp_path / "ana.ran"
    assert privedge("train", photos, "--owner", "ana", "--out", out, *arguments).exit_code == 0
    assert checkpoint.load(out).spec.image.channels == channels


def test_w52_bad_files_are_named_at_once_and_can_be_left_out(photos, tmp_path):
    (photos / "98.jpg").touch()
    (photos / "99.png").write_bytes(b"no picture")
    command = ("train", photos, "--owner", "ana", "--out", tmp_path / "ana.ran", *LINEAR)
    error = str(privedge(*command).exception)
    assert "98.jpg" in error and "99.png" in error and "--skip-bad" in error
    assert json.loads(privedge(*command, "--skip-bad", "--json").stdout)["images"] == 12


def test_an_interrupted_training_is_resumed_to_the_same_file(photos, tmp_path):
    whole, out = tmp_path / "whole.ran", tmp_path / "ana.ran"
    command = ("train", photos, "--owner", "ana", "--preset", "ran32")
    assert privedge(*command, "--out", whole, "--steps", 520).exit_code == 0
    # What an end between step 500 and 520 leaves: no RAN, but what was saved at step 500.
    spec = preset("ran32", height=32, width=32, channels=1)
    pictures, settings = inputs.given(photos, spec.image), settings_for(spec, steps=510)
    fit_ran(pictures, spec, settings, "ana", saving=Saves(tmp_path / "ana.ran.unfinished"))
    assert isinstance(privedge(*command, "--out", out).exception, TrainingError)
    assert privedge(*command, "--out", out, "--steps", 520, "--resume").exit_code == 0
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(tmp_path.glob("*.ran*")) == [out, whole]


def test_an_owners_own_model_is_replaced_and_nothing_else_unless_told(photos, tmp_path):
    out = tmp_path / "ana.ran"
    command = ("train", photos, "--out", out, *LINEAR, "--owner")
    assert privedge(*command, "ana").exit_code == 0
    assert privedge(*command, "ana", "--components", 3).exit_code == 0
    before = out.read_bytes()
    refused = privedge(*command, "bo").exception
    assert isinstance(refused, CheckpointError)
    assert "is the model of ana, not of bo" in str(refused) and "--force" in str(refused)
    assert out.read_bytes() == before
    assert privedge(*command, "bo", "--force").exit_code == 0
    assert checkpoint.load(out).owner == "bo"


@pytest.mark.parametrize("there", ["notes", "empty", "dangling link", "saved.ran of no owner"])
def test_a_file_that_is_no_model_is_not_replaced(photos, tmp_path, there):
    out = tmp_path / "notes.txt"
    if there == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    elif there == "saved.ran of no owner":
        save_file({"a": np.zeros(2, np.float32)}, out)
    else:
        out.write_text("" if there == "empty" else "my notes")
    before = sorted(path.name for path in tmp_path.iterdir())
    refused = privedge("train", photos, "--owner", "ana", "--out", out).exception
    assert isinstance(refused, CheckpointError)
    assert re.search("exists and is (no model of ana|not a file)", str(refused))
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_closed_form_leaves_an_unfinished_training_of_another_preset_alone(photos, tmp_path):
    (tmp_path / "ana.ran.unfinished").write_text("two hours of work")
    command = ("train", photos, "--owner", "ana", "--out", tmp_path / "ana.ran", *LINEAR)
    assert privedge(*command).exit_code == 0
    assert (tmp_path / "ana.ran.unfinished").read_text() == "two hours of work"


def test_vectors_are_called_vectors_in_what_is_said(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((12, 8))
    np.savez(tmp_path / "voices.npz", vectors=vectors, labels=np.repeat(["ana", "ben"], 6))
    command = ("train", tmp_path / "voices.npz", "--label", "ana", "--owner", "ana")
    said = privedge(*command, "--out", tmp_path / "ana.ran").stdout
    assert ", 6 vectors, " in said and "image" not in said
    said = privedge("train-all", tmp_path / "voices.npz", "--out", tmp_path / "models").stdout
    assert said.count(": 6 vectors, ") == 2 and "image" not in said


def test_one_photo_suffices_and_that_none_is_held_out_is_said(photos, tmp_path):
    out = tmp_path / "ana.ran"
    shown = privedge("train", photos / "00.png", "--owner", "ana", "--out", out)
    assert "1 image, 0 steps, no image held out" in shown.stdout
    told = json.loads(
        privedge("train", photos / "00.png", "--owner", "ana", "--out", out, "--json").stdout
    )
    assert (told["images"], told["held_out"], told["validation_mse"]) == (1, 0, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "resnet"), "resnet"),
        (("--components", "0"), "components"),
        ((*LINEAR, "--steps", "5"), "closed form"),
        (("--dp-epsilon", "5"), "--preset subspace32-fine"),
        (("--label", "1"), "label"),
        (("--channels", "2"), "channels: must be 1 or 3, not 2"),
        (("--cohort", "faces", "--config", "none.toml"), "none.toml: no such file"),
        (("--threshold-quantile", "2"), "threshold"),
        (("--encoder", "none.onnx"), r"none.onnx"),
        (("--owner", "Ana Maria"), "letters, digits"),
    ],
)
def test_what_a_user_gets_wrong_is_named_and_nothing_is_written(
    photos, tmp_path, arguments, message
):
    out = tmp_path / "ana.ran"
    result = privedge("train", photos, "--owner", "ana", "--out", out, *arguments)
    assert isinstance(result.exception, PrivEdgeError)
    assert message in str(result.exception)
    assert not out.exists()


def test_a_folder_to_write_to_must_exist_before_training(photos, tmp_path):
    result = privedge("train", photos, "--owner", "ana", "--out", tmp_path / "no" / "ana.ran")
    assert isinstance(result.exception, CheckpointError)
    assert "folder does not exist" in str(result.exception)


def test_a_place_that_cannot_be_written_is_refused_before_training(photos, tmp_path):
    for out in (tmp_path, tmp_path / "nowhere" / "ana.ran", Path("/dev/null")):
        result = privedge("train", photos, "--owner", "ana", "--out", out, "--preset", "nonesuch")
        assert isinstance(result.exception, CheckpointError)
        assert str(out) in str(result.exception)
    assert Path("/dev/null").is_char_device()


def test_whoever_a_certificate_can_name_can_train(photos, tmp_path):
    out = tmp_path / "ana.ran"
    assert privedge("train", photos, "--owner", "Ana_B", "--out", out, *LINEAR).exit_code == 0
    assert checkpoint.load(out).owner == "Ana_B"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--preset", "nosuch"), "preset 'nosuch' is unknown"),
        (("--device", "cuda"), "device: vector is fitted in closed form"),
        (("--largest-face",), "largest face: vector takes vectors"),
        (("--resume",), "resume: vector is fitted in closed form"),
        (("--owner", "unknown"), "owner: the name must be"),
        (("--no-unit-length",), "vectors: their file says unit_length = True"),
    ],
)
def test_w48_what_vectors_have_no_use_for_is_refused_in_one_line(tmp_path, options, line):
    rows = np.random.default_rng(0).normal(size=(8, 5))
    np.savez(tmp_path / "own.npz", vectors=rows, unit_length=True)
    command = ("train", tmp_path / "own.npz", "--owner", "ana", "--out", tmp_path / "ana.ran")
    refusal = privedge(*command, *options).exception
    assert isinstance(refusal, PrivEdgeError) and str(refusal).startswith(line)
    assert "\n" not in str(refusal) and not (tmp_path / "ana.ran").exists()
    assert privedge(*command).exit_code == 0
    assert checkpoint.load(tmp_path / "ana.ran").spec == preset("vector", size=5, unit_length=True)


def test_w48_a_device_is_not_told_to_be_repaired(photos, tmp_path):
    for given in (["/dev/zero"], [photos / "00.png", "/dev/zero"]):
        refusal = privedge("train", *given, "--owner", "ana", "--out", tmp_path / "ana.ran")
        assert "is a device, not a file" in str(refusal.exception)
        assert "repair" not in str(refusal.exception)
