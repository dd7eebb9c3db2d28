"""`train` turns pictures in any form into a RAN, as the command does."""

import logging

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import CheckpointError, ConfigError, ImageError, TrainingError
from privedge.ran.presets import preset
from privedge.user.checkpoint import Ran
from privedge.user.train import train

PICTURES = np.random.default_rng(5).integers(0, 256, (9, 32, 32), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(PICTURES):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def same(first: Ran, second: Ran) -> bool:
    equal = all(np.array_equal(first.parameters[n], second.parameters[n]) for n in first.parameters)
    return equal and (first.spec, first.facts) == (second.spec, second.facts)


def test_it_trains_what_the_command_trains_from_whatever_form_the_pictures_have(photos, tmp_path):
    command = ["train", str(photos), "--owner", "ana", "--out", str(tmp_path / "a.ran")]
    command += ["--preset", "ran32", "--steps", "3", "--seed", "4", "--device", "cpu"]
    assert CliRunner().invoke(build(), command).exit_code == 0
    expected = Ran.load(str(tmp_path / "a.ran"))
    settings = {"preset": "ran32", "steps": 3, "seed": 4, "device": "cpu"}
    for source in (photos, str(photos), PICTURES, [Image.fromarray(each) for each in PICTURES]):
        assert same(train(source, owner="ana", **settings), expected)


def test_a_model_is_saved_and_loaded(tmp_path):
    ran = train(PICTURES, owner="ana", components=3)
    ran.save(str(tmp_path / "ana.ran"))
    assert same(Ran.load(tmp_path / "ana.ran"), ran)
    with pytest.raises(CheckpointError, match="cannot be read"):
        Ran.load(str(tmp_path / "none.ran"))


def test_progress_is_told_in_steps():
    told = []
    train(
        PICTURES,
        owner="ana",
        preset="ran32",
        steps=4,
        check_every=2,
        progress=lambda *now: told.append(now),
    )
    assert told == [("train", 2, 4), ("train", 4, 4)]


def test_colour_components_and_a_whole_architecture_can_be_chosen():
    assert train(PICTURES, owner="ana", channels=3, components=4).spec.image.channels == 3
    spec = preset("subspace64", height=64, width=64, channels=1, components=2)
    assert train(PICTURES, owner="ana", preset=spec).spec == spec
    with pytest.raises(ConfigError, match="2 components there, 3 here"):
        train(PICTURES, owner="ana", preset=spec, components=3)


def test_bad_files_are_named_or_left_out(photos, caplog):
    (photos / "x.png").write_bytes(b"no picture")
    (photos / "y.jpg").touch()
    with pytest.raises(ImageError, match=r"x\.png.*y\.jpg"):
        train(photos, owner="ana")
    with caplog.at_level(logging.WARNING):
        assert train(photos, owner="ana", skip_bad=True, components=4).facts["images"] == "9"
    assert "x.png" in caplog.text and "y.jpg" in caplog.text


def test_w57_pictures_that_are_all_the_same_are_warned_of(caplog):
    train(PICTURES[:1].repeat(8, 0), owner="ana", components=4)
    assert caplog.messages == ["ana: all 8 pictures are the same; add others"]


@pytest.mark.parametrize(
    ("source", "options", "kind"),
    [
        (PICTURES / 255, {}, ImageError),
        (PICTURES[:4], {"threshold_quantile": 0.9}, TrainingError),
        (PICTURES, {"owner": "Ana Maria"}, TrainingError),
        (PICTURES, {"preset": "resnet"}, ConfigError),
        (PICTURES, {"channels": 2}, ConfigError),
        (PICTURES, {"label": "ana"}, ImageError),
        (PICTURES, {"encoder": "none.onnx"}, ConfigError),
        (PICTURES, {"owner": None}, TrainingError),
        (PICTURES, {"components": "3"}, ConfigError),
        (PICTURES, {"seed": "x"}, ConfigError),
        (PICTURES, {"seed": -1}, ConfigError),
        (PICTURES, {"seed": 2**64}, ConfigError),
        (PICTURES, {"threads": 0}, ConfigError),
        (PICTURES, {"device": "tpu"}, ConfigError),
        (PICTURES, {"sed": 1}, ConfigError),
    ],
)
def test_what_is_wrong_is_an_error_of_its_kind(source, options, kind):
    with pytest.raises(kind) as refusal:
        train(source, **{"owner": "ana"} | options)
    assert "\n" not in str(refusal.value)
