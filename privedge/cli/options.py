"""Options that several commands share, and the command itself."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", help="Where the parties are and who you are (TOML)."),
]
DEFAULT_CONFIG = Path("privedge.toml")

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object instead of text, for machines.")
]

DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="FILE.npz|FOLDER",
        help="Images (uint8) and labels, or a folder of images for each class.",
    ),
]

ProcessesOption = Annotated[
    int | None,
    typer.Option("--processes", min=1, help="That train side by side; default one a core."),
]


def command_line() -> str:
    """The command as given to the shell, to be stored with what it measured."""
    return shlex.join(["privedge", *sys.argv[1:]])
