"""`privedge query` and `verify` on folders as people have them, against two servers."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from privedge.cli.main import build
from privedge.errors import ImageError
from tests.unit.client import open_parties


@pytest.fixture(scope="module")
def parties():
    with open_parties.serving() as running:
        yield running


@pytest.mark.parametrize(
    "asked", [("query",), ("verify", "--owner", "bo")], ids=lambda each: each[0]
)
def test_w52_bad_files_are_named_at_once_or_left_out(parties, tmp_path, caplog, asked):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(open_parties.PICTURES):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "8.jpg").touch()
    (folder / "9.png").write_bytes(b"no picture")
    config = str(parties.config_file(tmp_path))
    name, *more = asked
    command = [name, str(folder), *more, "--cohort", open_parties.COHORT, "--config", config]
    refused = CliRunner().invoke(build(), [*command, "--json"]).exception
    assert isinstance(refused, ImageError)
    assert "8.jpg" in str(refused) and "9.png" in str(refused)
    done = CliRunner().invoke(build(), [*command, "--skip-bad", "--json"])
    expected = [*open_parties.NAMES] if name == "query" else [False, True, False, False]
    assert json.loads(done.stdout)["answers"] == expected
    assert "8.jpg" in caplog.text and "9.png" in caplog.text
