"""What `--help` says of every command, as it is kept in tests/golden/help.

A new command or option changes a file there: write it again with

    PRIVEDGE_WRITE_HELP=1 pytest tests/unit/cli/test_help.py
"""

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer
from typer.testing import CliRunner

from privedge.cli.main import build

GOLDEN = Path(__file__).parents[2] / "golden" / "help"
APP = build()


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of each command and group, the whole application first."""
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


EVERY = list(commands(typer.main.get_command(APP)))


def file_of(words: tuple[str, ...]) -> Path:
    return GOLDEN / f"{'-'.join(('privedge', *words))}.txt"


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_the_help_of_a_command_is_what_it_was(words):
    shown = CliRunner().invoke(
        APP, [*words, "--help"], prog_name="privedge", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    )
    assert shown.exit_code == 0
    if os.environ.get("PRIVEDGE_WRITE_HELP"):
        file_of(words).write_text(shown.output, encoding="utf-8")
    assert shown.output == file_of(words).read_text(encoding="utf-8")


def test_no_file_is_left_of_a_command_that_went():
    assert {path.name for path in GOLDEN.iterdir()} == {file_of(words).name for words in EVERY}
