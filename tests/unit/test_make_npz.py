"""tools/make_npz.py: a folder of folders becomes an npz that every experiment reads."""

import numpy as np
import pytest
from PIL import Image

from privedge_lab import datasets
from tools import make_npz


def picture(path, value, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


def made(capsys, *arguments):
    status = make_npz.main([str(each) for each in arguments])
    return status, capsys.readouterr()


def test_a_folder_of_folders_becomes_a_labelled_set(tmp_path, capsys):
    for value, name in enumerate(["ana/2.png", "ana/1.png", "ben/deeper/1.png"]):
        picture(tmp_path / "set" / name, 10 * value)
    picture(tmp_path / "set" / ".hidden" / "1.png", 0)
    status, said = made(capsys, tmp_path / "set", tmp_path / "set.npz", "--side", 8)
    assert (status, said.err) == (0, "") and "3 images of 2 classes" in said.out
    found = datasets.read(tmp_path / "set.npz")
    assert found.names == ("ana", "ben")
    assert found.labels.tolist() == [0, 0, 1]
    assert tuple(found.images.shape) == (3, 1, 8, 8)
    assert (found.images[:, 0, 0, 0] * 255).round().tolist() == [10, 0, 20]


def test_without_a_side_images_have_the_median_size(tmp_path, capsys):
    for at, size in enumerate([(12, 10), (12, 10), (30, 40)]):
        picture(tmp_path / "set" / "ana" / f"{at}.png", 0, size)
    assert made(capsys, tmp_path / "set", tmp_path / "set.npz")[0] == 0
    with np.load(tmp_path / "set.npz", allow_pickle=False) as arrays:
        assert arrays["images"].shape == (3, 10, 12)
        assert arrays["images"].dtype == np.uint8


@pytest.mark.parametrize("layout", ["{part}/{name}/{at}.png", "{name}/{part}/{at}.png"])
def test_folders_of_the_test_part_may_be_above_or_below_the_classes(tmp_path, capsys, layout):
    for at, part in enumerate(["train", "train", "test"]):
        for name in ("3", "7"):
            picture(tmp_path / "set" / layout.format(part=part, name=name, at=at), at)
    assert made(capsys, tmp_path / "set", tmp_path / "set.npz", "--test", "test")[0] == 0
    found = datasets.read(tmp_path / "set.npz")
    assert found.names == ("3", "7")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert sorted(found.facts["is_test"].tolist()) == [0, 0, 0, 0, 1, 1]
    assert datasets.split(found, seed=0).test.images.unique().tolist() == [pytest.approx(2 / 255)]


def test_facts_are_read_from_the_names_of_files(tmp_path, capsys):
    picture(tmp_path / "set" / "0" / "35_0_2.png", 0)
    picture(tmp_path / "set" / "1" / "61_1_0.png", 0)
    facts = ["--fact", r"age=(\d+)_\d_", "--fact", r"gender=\d+_(\d)_"]
    assert made(capsys, tmp_path / "set", tmp_path / "set.npz", *facts)[0] == 0
    found = datasets.read(tmp_path / "set.npz").facts
    assert (found["age"].tolist(), found["gender"].tolist()) == ([35, 61], [0, 1])


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        ("age", "give NAME=REGEX"),
        ("age=(", "is not a regular expression"),
        (r"age=\d+", "with one group"),
        (r"age=x(\d+)", "has no number for age"),
    ],
)
def test_what_cannot_be_a_fact_is_said_in_one_line(tmp_path, capsys, fact, reason):
    picture(tmp_path / "set" / "ana" / "1.png", 0)
    status, said = made(capsys, tmp_path / "set", tmp_path / "set.npz", "--fact", fact)
    assert status == 1 and reason in said.err and said.err.count("\n") == 1
    assert not (tmp_path / "set.npz").exists()


def test_a_folder_without_classes_and_a_class_without_images_are_named(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    assert "holds no folders" in made(capsys, tmp_path / "set", tmp_path / "set.npz")[1].err
    (tmp_path / "set" / "ana").mkdir()
    assert "class ana holds no" in made(capsys, tmp_path / "set", tmp_path / "set.npz")[1].err
    assert "cannot be read" in made(capsys, tmp_path / "none", tmp_path / "set.npz")[1].err
