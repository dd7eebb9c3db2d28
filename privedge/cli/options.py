"""Options that several commands share, and the command itself."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from privedge.ran.quality import Care
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
        help="Images (uint8) or vectors, and labels; or a folder of images for each class.",
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

UnitLengthOption = Annotated[
    bool | None,
    typer.Option(
        "--unit-length/--no-unit-length",
        help="For vectors: divide each by its length, or not (the default).",
        show_default=False,
    ),
]

SkipBadOption = Annotated[
    bool, typer.Option("--skip-bad", help="Leave out files that cannot be read, and name them.")
]

StrictQualityOption = Annotated[
    bool,
    typer.Option(
        "--strict-quality",
        help="Stop at pictures that are too few, alike, dark, bright, flat, blurred or mixed, "
        "instead of a warning.",
    ),
]

ProcessesOption = Annotated[
    int | None,
    typer.Option("--processes", min=1, help="That train side by side; default one a core."),
]


def care(strict_quality: bool) -> "Care":
    """What to do about poor pictures."""
    return "refuse" if strict_quality else "warn"


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
