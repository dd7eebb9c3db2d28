"""`privedge train-all` on real image files, as a user runs it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import ConfigError, ImageError, PrivEdgeError, QualityError
from privedge.user import checkpoint
from privedge_lab.demo import digits
from tests import drawn_faces


@pytest.fixture
def people(tmp_path):
    """Three owners' folders of twelve digits each."""
    given = digits.load(0).train_images
    for digit, name in enumerate(("ana", "ben", "cleo")):
        folder = tmp_path / "people" / name
        folder.mkdir(parents=True)
        for number, image in enumerate(given[digit][:12]):
            Image.fromarray(image).save(folder / f"{number:02}.png")
    return tmp_path / "people"


def train_all(*arguments: object) -> Result:
    # The network that `auto` picks takes seconds to train.
    chosen = {"--preset", "--encoder", "--detector"} & set(map(str, arguments))
    pictures = Path(str(arguments[0])).is_dir()
    linear = ("--preset", "subspace32-fine") if pictures and not chosen else ()
    return CliRunner().invoke(build(), ["train-all", *map(str, (*arguments, *linear))])


def test_every_folder_becomes_a_ran_and_what_is_missing_is_added(people, tmp_path):
    out = tmp_path / "models"
    said = train_all(people, "--out", out)
    assert said.exit_code == 0 and said.stderr == ""
    assert said.stdout.splitlines()[-1].startswith("3 owners, subspace32-fine, ")
    rans = [checkpoint.load(out / f"{name}.ran") for name in ("ana", "ben", "cleo")]
    assert [ran.owner for ran in rans] == ["ana", "ben", "cleo"]
    (out / "ben.ran").unlink()
    assert "--resume" in str(train_all(people, "--out", out).exception)
    found = json.loads(train_all(people, "--out", out, "--resume", "--json").stdout)
    assert [(row["owner"], row["images"], row["reused"]) for row in found["owners"]] == [
        ("ana", 12, True),
        ("ben", 12, False),
        ("cleo", 12, True),
    ]


def test_folders_of_a_system_are_no_owners_and_are_named(people, tmp_path, caplog):
    (people / "__MACOSX" / "ana").mkdir(parents=True)
    (people / "@eaDir").mkdir()
    (people / "read me.txt").write_text("no picture")
    said = train_all(people, "--out", tmp_path / "models")
    assert said.exit_code == 0 and said.stdout.splitlines()[-1].startswith("3 owners")
    expected = "1 file passed over (.txt), 2 folders passed over (@eaDir, __MACOSX)"
    assert caplog.messages == [f"{people}: {expected}"]


@pytest.mark.parametrize("processes", [1, 2])
def test_w52_bad_files_of_all_owners_are_named_at_once_and_can_be_left_out(
    people, tmp_path, caplog, processes
):
    cut, empty = people / "ana" / "98.jpg", people / "ben" / "99.png"
    Image.new("L", (40, 40), 90).save(cut)
    cut.write_bytes(cut.read_bytes()[:150])
    empty.touch()
    command = (people, "--out", tmp_path / "models", "--processes", processes)
    command += ("--preset", "ran32", "--steps", 2)
    error = train_all(*command).exception
    assert isinstance(error, ImageError) and "2 files cannot be used" in str(error)
    assert all(each in str(error) for each in (str(cut), str(empty), "--skip-bad"))
    found = json.loads(train_all(*command, "--skip-bad", "--json").stdout)
    assert [row["images"] for row in found["owners"]] == [12, 12, 12]
    assert str(cut) in caplog.text and str(empty) in caplog.text


def test_w52_folders_that_cannot_be_used_are_named_at_once_and_can_be_left_out(
    people, tmp_path, caplog
):
    empty, broken, cut = people / "dora", people / "emil", people / "ana" / "98.png"
    empty.mkdir()
    broken.mkdir()
    for file in (broken / "1.png", cut):
        file.write_bytes(b"no picture")
    out = tmp_path / "models"
    error = train_all(people, "--out", out).exception
    assert isinstance(error, ImageError) and "3 files and folders cannot be used" in str(error)
    assert all(str(each) in str(error) for each in (empty, broken / "1.png", cut))
    assert "--skip-bad" in str(error) and not out.exists()
    found = json.loads(train_all(people, "--out", out, "--skip-bad", "--json").stdout)
    assert [(row["owner"], row["images"]) for row in found["owners"]] == [
        ("ana", 12),
        ("ben", 12),
        ("cleo", 12),
    ]
    assert all(str(each) in caplog.text for each in (empty, broken / "1.png", cut))


def test_w52_if_nothing_is_left_there_is_nothing_to_train(tmp_path):
    (tmp_path / "people" / "ana").mkdir(parents=True)
    said = train_all(tmp_path / "people", "--out", tmp_path / "models", "--skip-bad")
    assert isinstance(said.exception, ImageError) and "no picture is left" in str(said.exception)


def test_names_with_accents_and_spaces_are_mapped_and_shown(people, tmp_path):
    (people / "ana").rename(people / "Ana María")
    (people / "ben").rename(people / "bén")
    said = train_all(people, "--out", tmp_path / "models", "--json")
    assert [row["owner"] for row in json.loads(said.stdout)["owners"]] == [
        "ana-maria",
        "ben",
        "cleo",
    ]
    assert [
        checkpoint.load(tmp_path / f"models/{name}.ran").owner for name in ("ana-maria", "ben")
    ] == [
        "ana-maria",
        "ben",
    ]
    assert said.stderr.splitlines() == [
        "privedge: note: owners' names have letters, digits, . _ - only: 'Ana María' is ana-maria, "
        "'bén' is ben",
    ]


def test_folders_of_one_name_are_refused_before_anything_is_written(people, tmp_path):
    (people / "ben").rename(people / "aná")
    error = train_all(people, "--out", tmp_path / "models").exception
    assert (
        str(error) == "folders or labels 'ana' and 'aná': both would be the owner ana; rename one"
    )
    assert not (tmp_path / "models").exists()


def test_an_owner_whose_images_are_all_the_same_is_named(people, tmp_path, caplog):
    for file in (people / "cleo").iterdir():
        Image.new("L", (32, 32), 90).save(file)
    assert train_all(people, "--out", tmp_path / "models").exit_code == 0
    assert caplog.messages == ["cleo: all 12 pictures are the same; add others"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [((), "holds no folders"), (("dora",), "dora: holds no")],
)
def test_folders_that_are_no_owners_are_refused(people, tmp_path, folders, message):
    if not folders:
        people = people / "ana"
    for name in folders:
        (people / name).mkdir()
    error = train_all(people, "--out", tmp_path / "models").exception
    assert isinstance(error, PrivEdgeError) and message in str(error)


# --- Several owners -------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["unknown", "UNKNOWN", "Unknówn"])
def test_w48_a_folder_of_strangers_is_no_owner_and_nothing_is_written(people, tmp_path, folder):
    (people / "ben").rename(people / folder)
    error = train_all(people, "--out", tmp_path / "models").exception
    assert isinstance(error, ConfigError) and "rename it, or take it away if" in str(error)
    assert repr(folder) in str(error) and not (tmp_path / "models").exists()


def test_w48_names_that_differ_in_case_only_are_refused_as_their_files_may_be_one(tmp_path):
    rows = np.random.default_rng(0).normal(size=(8, 5))
    np.savez(tmp_path / "own.npz", vectors=rows, labels=["Ana", "ana"] * 4)
    error = train_all(tmp_path / "own.npz", "--out", tmp_path / "models").exception
    assert "'Ana' and 'ana': both would be the owner ana" in str(error)
    assert "upper and lower case do not count" in str(error)


def test_w48_a_picture_in_two_folders_is_warned_of_or_refused(people, tmp_path, caplog):
    shutil.copy(people / "ana" / "03.png", people / "cleo" / "also.png")
    assert train_all(people, "--out", tmp_path / "models").exit_code == 0
    assert [line for line in caplog.messages if "another owner's too" in line] == [
        "ana: 1 of 12 are another owner's too (03.png is cleo/also.png); leave each to the one "
        "whose it is",
        "cleo: 1 of 13 are another owner's too (also.png is ana/03.png); leave each to the one "
        "whose it is",
    ]
    strict = train_all(people, "--out", tmp_path / "other", "--strict-quality").exception
    assert isinstance(strict, QualityError) and not (tmp_path / "other").exists()


@pytest.fixture
def faces(tmp_path):
    """ana and ben with three faces each, cleo with none, and the options that find them."""
    for owner in ("ana", "ben", "cleo"):
        (tmp_path / "faces" / owner).mkdir(parents=True)
        for photo in range(3):
            places = () if owner == "cleo" else ((100 + 20 * photo, 150),)
            picture = drawn_faces.discs(*places, seed=photo + 10 * ord(owner[0]))
            picture.save(tmp_path / "faces" / owner / f"{photo}.png")
    drawn_faces.discs(seed=5).save(tmp_path / "faces" / "ben" / "sea.png")
    files = [drawn_faces.encoder(tmp_path / "e.onnx"), drawn_faces.detector(tmp_path / "d.onnx")]
    return tmp_path / "faces", ("--encoder", files[0], "--detector", files[1])


def test_w48_an_owner_without_any_face_is_left_out_and_the_others_are_trained(
    faces, tmp_path, caplog
):
    folder, files = faces
    command = (folder, "--out", tmp_path / "models", *files, "--processes", 1)
    error = train_all(*command).exception
    assert isinstance(error, ImageError) and "4 files cannot be used" in str(error)
    assert str(folder / "ben" / "sea.png") in str(error)
    said = train_all(*command, "--skip-bad", "--json")
    found = json.loads(said.stdout)
    assert [(row["owner"], row["images"]) for row in found["owners"]] == [("ana", 3), ("ben", 3)]
    assert [row["owner"] for row in found["left_out"]] == ["cleo"] and said.exit_code == 1
    assert not (tmp_path / "models" / "cleo.ran").exists()
    text = train_all(*command, "--skip-bad", "--resume")
    *_, who, total = text.stdout.splitlines()
    assert who == "cleo: left out, none of the pictures can be used" and text.exit_code == 1
    assert total.startswith("2 owners, 1 left out, ")


def test_w48_a_check_of_photos_names_all_bad_pictures_of_all_owners(faces):
    folder, files = faces
    check = ["photos", "check", folder, *files]
    error = CliRunner().invoke(build(), [*map(str, check)]).exception
    assert isinstance(error, ImageError) and "4 files cannot be used" in str(error)
    said = CliRunner().invoke(build(), [*map(str, check), "--skip-bad", "--json"])
    found = json.loads(said.stdout)
    assert [row["owner"] for row in found["owners"]] == ["ana", "ben"] and said.exit_code == 1
    assert found["left_out"] == [{"owner": "cleo", "reason": "none of the pictures can be used"}]


def test_w48_files_given_with_each_others_option_are_told(faces, tmp_path):
    folder, (_, encoder, _, detector) = faces
    error = train_all(
        folder, "--out", tmp_path / "models", "--encoder", detector, "--detector", encoder
    ).exception
    assert isinstance(error, ConfigError) and "finds faces and is no encoder" in str(error)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--largest-face",), "largest face: subspace32-fine takes whole pictures"),
        (("--detector", "d.onnx"), "detector: cuts faces out for an encoder; give an encoder, too"),
        (("--preset", "nosuch"), "preset 'nosuch' is unknown"),
    ],
)
def test_w48_options_that_nothing_would_heed_are_refused(people, tmp_path, options, line):
    error = train_all(people, "--out", tmp_path / "models", *options).exception
    assert isinstance(error, ConfigError) and str(error).startswith(line)
