"""How `make matrix` finds the versions of Python that are here."""

import sys
from pathlib import Path

import pytest

from tools import matrix

THIS = f"{sys.version_info.major}.{sys.version_info.minor}"


def on_path(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Path:
    """A folder that is all of PATH, with no pyenv beside it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_an_interpreter_on_path_is_found(bare):
    on_path(bare, f"python{THIS}", f'exec "{sys.executable}" "$@"')
    assert matrix.interpreter(THIS) == str(bare / f"python{THIS}")


def test_an_interpreter_of_pyenv_is_found_behind_a_shim_that_fails(bare):
    on_path(bare, f"python{THIS}", "exit 127")
    folder = bare / f"pyenv/versions/{THIS}.1/bin"
    folder.mkdir(parents=True)
    on_path(folder, f"python{THIS}", f'exec "{sys.executable}" "$@"')
    assert matrix.interpreter(THIS) == str(folder / f"python{THIS}")


def test_an_interpreter_of_another_version_than_its_name_is_not_taken(bare):
    on_path(bare, "python3.99", f'exec "{sys.executable}" "$@"')
    assert matrix.interpreter("3.99") is None


def test_versions_that_are_missing_are_named_in_one_line_and_none_at_all_is_a_failure(bare, capsys):
    assert matrix.main(["3.98", "3.99"]) == 1
    assert capsys.readouterr().out == "not installed here, and not tested: 3.98, 3.99\n"
