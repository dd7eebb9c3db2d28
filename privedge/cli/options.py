"""Options that several commands share, and the command itself."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from privedge.ran.spec import RanSpec

ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", help="Where the parties are and who you are (TOML)."),
]
DEFAULT_CONFIG = Path("privedge.toml")


def path(name: str) -> Path:
    """Read the name of a file or folder; an empty one would mean the current folder.

    The help shows the name of this function as what is expected.
    """
    if not name:
        raise typer.BadParameter("the name of the file or folder is empty")
    return Path(name)


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

JoinOption = Annotated[
    str | None,
    typer.Option(
        "--cohort", metavar="NAME", help="Train for this cohort: its architecture, from party 0."
    ),
]

ChannelsOption = Annotated[
    int | None,
    typer.Option("--channels", help="1 for grey, 3 for colour, if not what the images have."),
]

SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out files that cannot be read, and name them.")
]

ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace a file that is there, whatever it is.")
]

ProcessesOption = Annotated[
    int | None,
    typer.Option("--processes", min=1, help="That train side by side; default one a core."),
]


def to_join(cohort: str | None, config: Path, preset: str) -> "str | RanSpec":
    """Return the preset's name, or ask party 0 for the architecture of the cohort to join."""
    if cohort is None:
        return preset
    from privedge.config import ClientConfig, load
    from privedge.user.architecture import of_cohort

    if preset != "auto":
        raise typer.BadParameter(
            "the cohort sets the architecture; leave it out", param_hint="--preset"
        )
    return of_cohort(cohort, load(ClientConfig, config))


def command_line() -> str:
    """Return this command as a line of shell, to be stored with its results."""
    return shlex.join(["privedge", *sys.argv[1:]])
