"""`privedge photos check`, and --strict-quality of the commands that read pictures."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import ImageError, QualityError
from privedge_lab.demo import digits
from tests import drawn_faces, onnx_files


@pytest.fixture
def people(tmp_path):
    """ana has twelve good pictures, ben three that are dark."""
    given = digits.load(0).train_images
    for digit, (name, count) in enumerate((("ana", 12), ("ben", 3))):
        folder = tmp_path / "people" / name
        folder.mkdir(parents=True)
        for number, image in enumerate(given[digit][:count]):
            shown = image if name == "ana" else image // 8
            Image.fromarray(shown).save(folder / f"{number:02}.png")
    return tmp_path / "people"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(build(), [*map(str, arguments)])


def test_each_owner_has_a_row_and_a_line_for_each_flaw(people):
    said = run("photos", "check", people)
    assert said.exit_code == 0
    assert said.stdout.splitlines() == [
        "owner     count  what is wrong",
        "ana          12  nothing",
        "ben           3  only 3 pictures; 10 or more answer better",
        "                 00.png, 01.png, 02.png are too dark; take them again in more light",
    ]


def test_machines_read_kinds_lines_and_files(people):
    (row,) = json.loads(run("photos", "check", people / "ben", "--json").stdout)["owners"]
    assert (row["owner"], row["count"]) == ("ben", 3)
    assert [flaw["kind"] for flaw in row["flaws"]] == ["few", "dark"]
    assert row["flaws"][1]["files"] == ["00.png", "01.png", "02.png"]


def test_behind_an_encoder_a_picture_of_somebody_else_is_found_where_pixels_show_nothing(tmp_path):
    """Nine red pictures and a blue one, about alike in grey."""
    encoder = onnx_files.mean_colour(tmp_path / "encoder.onnx")
    ana = tmp_path / "people" / "ana"
    drawn_faces.colours(ana, other=4)
    flaws = "nothing"
    for more in ((), ("--encoder", encoder)):
        said = run("photos", "check", ana, *more).stdout.splitlines()
        assert said[1].split("  ")[-1].strip().startswith(flaws)
        flaws = "4.png is unlike all others"
    without = run("photos", "check", ana, "--preset", "face")
    assert "needs both of its ONNX files" in str(without.exception)


def test_a_strict_check_fails_if_anything_is_wrong(people):
    assert run("photos", "check", people / "ana", "--strict-quality").exit_code == 0
    assert run("photos", "check", people, "--strict-quality").exit_code == 1


def test_poor_pictures_are_warned_of_and_trained(people, tmp_path, caplog):
    said = run("train", people / "ben", "--owner", "ben", "--out", tmp_path / "ben.ran")
    assert said.exit_code == 0 and (tmp_path / "ben.ran").exists()
    assert [message[:8] for message in caplog.messages] == ["ben: onl", "ben: 00."]


@pytest.mark.parametrize("command", ["train", "train-all"])
def test_strict_training_names_all_that_is_wrong_and_writes_nothing(people, tmp_path, command):
    out = tmp_path / "out"
    one = ["train", people / "ben", "--owner", "ben"]
    said = run(
        *(one if command == "train" else ["train-all", people]), "--strict-quality", "--out", out
    )
    assert isinstance(said.exception, QualityError)
    assert "ben: only 3 pictures" in str(said.exception)
    assert "02.png are too dark" in str(said.exception)
    assert not out.exists()


def test_vectors_of_each_label_have_flaws_of_their_own(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((22, 4))
    vectors[:11, 2] = 1
    np.savez(tmp_path / "voices.npz", vectors=vectors, labels=np.repeat(["ana", "ben"], 11))
    rows = json.loads(run("photos", "check", tmp_path / "voices.npz", "--json").stdout)["owners"]
    assert [row["owner"] for row in rows] == ["ana", "ben"]
    assert [[flaw["kind"] for flaw in row["flaws"]] for row in rows] == [["constant"], []]


def test_an_npz_can_be_checked_from_python(tmp_path):
    from privedge import check_quality

    np.savez(tmp_path / "few.npz", images=digits.load(0).train_images[0][:4])
    assert [flaw.kind for flaw in check_quality(tmp_path / "few.npz")] == ["few"]


def test_w48_vectors_that_would_not_be_trained_are_named_with_their_owner(tmp_path):
    rows = np.random.default_rng(0).normal(size=(8, 5))
    rows[[3, 5]] *= 1e-6
    np.savez(tmp_path / "own.npz", vectors=rows, labels=["ana", "bo"] * 4)
    error = run("photos", "check", tmp_path / "own.npz").exception
    assert isinstance(error, ImageError) and "bo: vectors: the length" in str(error)
    assert "in vector 1 and 1 more" in str(error) and "ana" not in str(error)
    np.savez(tmp_path / "own.npz", vectors=rows, labels=["ana", "bo"] * 4, unit_length=True)
    assert run("photos", "check", tmp_path / "own.npz").exit_code == 0
