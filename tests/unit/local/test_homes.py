"""Where `privedge up` keeps what it makes, and which folders it leaves alone."""

import json
import os
from pathlib import Path

import pytest

from privedge.errors import ConfigError
from privedge.local import homes
from privedge.local.homes import Home, Record


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "privedge-up" / "people", tmp_path / "people")


def test_it_is_in_this_folder_unless_that_is_among_the_pictures(tmp_path, monkeypatch):
    pictures = tmp_path / "photos" / "people"
    (pictures / "ana").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert homes.default(pictures, "people") == tmp_path / "privedge-up" / "people"
    (tmp_path / "people").symlink_to(pictures)
    for inside in (pictures, pictures / "ana"):
        monkeypatch.chdir(inside)
        assert homes.default(pictures, "people") == tmp_path / "photos" / "privedge-up" / "people"
        assert homes.default(tmp_path / "people", "people") == tmp_path / "privedge-up" / "people"


def test_what_is_recorded_is_read_again_and_private_under_any_mask(home):
    mask = os.umask(0o000)
    try:
        with home.taken():
            record = Record(
                str(home.pictures), sizes={"a": (1, 2, 3)}, models={"ana": "x"}, ports=(1, 2)
            )
            home.write(record)
            (home.folder / "later").write_text("")
        assert os.umask(0o000) == 0
    finally:
        os.umask(mask)
    assert home.record.models == record.models and home.record.ports == (1, 2)
    assert (home.folder / ".gitignore").read_text() == "*\n"
    paths = [home.folder, *home.folder.rglob("*")]
    assert [path for path in paths if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pictures": "x", "unknown": 1, "ports": []}'])
def test_a_record_that_cannot_be_read_is_none(home, text):
    home.folder.mkdir(parents=True)
    (home.folder / "up.json").write_text(text)
    assert home.record == Record(str(home.pictures))


def test_what_another_version_has_recorded_is_not_gone_on_with(home):
    with home.taken():
        home.write(Record(str(home.pictures), version="0.0.1", models={"ana": "x"}, serving="y"))
    assert home.record == Record(str(home.pictures))


def test_a_folder_of_somebody_else_is_never_taken(home):
    home.folder.mkdir(parents=True)
    (home.folder / "certs").mkdir()
    with pytest.raises(ConfigError, match="was not made by `privedge up`"), home.taken():
        pass
    assert [entry.name for entry in home.folder.iterdir()] == ["certs"]


def test_one_that_is_for_other_pictures_is_refused(home):
    with home.taken():
        pass
    other = Home(home.folder, home.pictures.with_name("others"))
    with pytest.raises(ConfigError, match=r"is for .*people; give another"), other.taken():
        pass


def test_what_runs_for_other_pictures_is_not_stopped(home):
    with home.taken():
        pass
    other = Home(home.folder, home.pictures.with_name("elsewhere") / "people")
    with pytest.raises(ConfigError, match=r"privedge-up/people: belongs to .*/people; give that"):
        homes.stop(other)
    assert not homes.stop(home)


def test_models_of_nobody_and_parts_of_files_go(home):
    with home.taken():
        for name in ("ana.ran", "ana.ran.unfinished", "ben.ran", ".ana.ran.x.part"):
            (home.models / name).write_text("")
        (home.models / ".images-x").mkdir()
    with home.taken():
        assert sorted(file.name for file in home.models.iterdir()) == [
            "ana.ran", "ana.ran.unfinished", "ben.ran"
        ]  # fmt: skip
        home.remove_models_but(["ana"])
        assert sorted(file.name for file in home.models.iterdir()) == [
            "ana.ran", "ana.ran.unfinished"
        ]  # fmt: skip


def test_where_nothing_was_made_nothing_is_stopped_and_nothing_is_made(home):
    assert not homes.stop(home)
    assert not home.folder.exists()
    home.folder.mkdir(parents=True)  # somebody else's
    assert not homes.stop(home)
    assert list(home.folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    home = Home(tmp_path / "file" / "home", tmp_path)
    with pytest.raises(ConfigError, match="choose another --home"), home.taken():
        pass


def test_the_record_is_one_json_object(home):
    with home.taken():
        pass
    assert json.loads(Path(home.folder / "up.json").read_text())["pictures"] == str(home.pictures)
