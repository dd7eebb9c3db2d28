"""Which photographs a demo of faces learns from and asks; the faces are drawn.

The files are those of tests/drawn_faces.py.
"""

import numpy as np
import pytest

from privedge.errors import ConfigError, ImageError
from privedge.ran import face, rivals
from privedge.ran.named_spec import spec_named
from privedge.ran.public_files import PublicFiles
from privedge.ran.rivals import Rivals
from privedge_lab.demo import faces
from tests import drawn_faces

PHOTOS = 5


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A folder as `make face-recipe` writes it, with six people, and rivals."""
    folder = tmp_path_factory.mktemp("recipe")
    drawn_faces.encoder(folder / "encoder.onnx")
    drawn_faces.detector(folder / "detector.onnx")
    for person in range(6):
        mine = folder / "people" / f"Person {person}"
        mine.mkdir(parents=True)
        for photo in range(PHOTOS):
            picture = drawn_faces.person(person, (100 + 16 * photo, 140), seed=photo)
            picture.save(mine / f"{photo}.png")
    files = PublicFiles.at(encoder=folder / "encoder.onnx", detector=folder / "detector.onnx")
    spec = spec_named("subspace-encoder", height=1, width=1, channels=3, files=files)
    rows = np.random.default_rng(0).normal(size=(3, *spec.input_shape)).astype(np.float32)
    rivals.write(folder / face.RIVALS, Rivals.of(rows, spec.input_shape), spec)
    return folder


def dealt(recipe, **asked):
    found = faces.source(recipe / "encoder.onnx", given=asked.pop("people", None))
    return faces.task("subspace-encoder", asked.pop("queries", None), 0, found, **asked)


def test_half_of_the_people_are_owners_and_nobody_is_learnt_and_asked(recipe):
    task = dealt(recipe)
    assert len(task.learnt) == 3 and len(task.strangers) == 3
    assert all(name.startswith("person-") for name in task.learnt)
    assert [len(photos) for photos in task.learnt.values()] == [3, 3, 3]
    assert len(task.asked) == len(task.truths) == 3 * (PHOTOS - 3)
    assert {*task.truths} == {*task.learnt}
    learnt = [photo.tobytes() for photos in task.learnt.values() for photo in photos]
    everything = [*learnt, *(photo.tobytes() for photo in [*task.asked, *task.strangers])]
    assert len({*everything}) == len(everything)
    assert (task.margin, task.rivals) == (face.MARGIN, recipe / "rivals.npz")


def test_photographs_without_one_face_are_left_out(recipe, tmp_path, caplog):
    for person, places in enumerate([(), ((80, 90), (230, 240))]):
        (tmp_path / f"p{person}").mkdir()
        for photo in range(3):
            at = (100 + 16 * photo, 140)
            drawn_faces.person(person, at).save(tmp_path / f"p{person}" / f"{photo}.png")
        drawn_faces.discs(*places).save(tmp_path / f"p{person}" / "other.png")
    task = dealt(recipe, people=tmp_path)
    assert sum(map(len, task.learnt.values())) + len(task.asked) == 6
    assert "no face was found" in caplog.text and "has 2 faces" in caplog.text


def test_too_few_photographs_and_too_many_queries_are_refused(recipe, tmp_path):
    with pytest.raises(ConfigError, match="only 6 test images"):
        dealt(recipe, queries=7)
    (tmp_path / "ana").mkdir()
    drawn_faces.person(0, (140, 140)).save(tmp_path / "ana" / "1.png")
    with pytest.raises(ImageError, match="fewer than two people"):
        dealt(recipe, people=tmp_path)


def test_a_missing_recipe_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^build/faces/encoder\.onnx: .* make face-recipe DIR="):
        faces.source()
