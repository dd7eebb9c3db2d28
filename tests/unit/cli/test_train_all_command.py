"""`privedge train-all` on real image files, as a user runs it."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from privedge.cli.main import build
from privedge.errors import PrivEdgeError
from privedge.user import checkpoint
from privedge_lab.demo import digits


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
    return CliRunner().invoke(build(), ["train-all", *map(str, arguments)])


def test_every_folder_becomes_a_ran_and_what_is_missing_is_added(people, tmp_path):
    out = tmp_path / "models"
    said = train_all(people, "--out", out)
    assert said.exit_code == 0 and said.stderr == ""
    assert said.stdout.splitlines()[-1].startswith("3 owners, subspace32, ")
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


@pytest.mark.parametrize(
    ("folders", "message"),
    [((), "holds no folders"), (("dora",), "dora: holds no"), (("Ana Maria",), "letters, digits")],
)
def test_folders_that_are_no_owners_are_refused(people, tmp_path, folders, message):
    if not folders:
        people = people / "ana"
    for name in folders:
        (people / name).mkdir()
        if " " in name:
            (people / "ana" / "00.png").rename(people / name / "00.png")
    error = train_all(people, "--out", tmp_path / "models").exception
    assert isinstance(error, PrivEdgeError) and message in str(error)
