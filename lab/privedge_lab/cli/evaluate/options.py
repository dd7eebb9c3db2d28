"""Options that the experiments of `privedge evaluate` share, and how their text is read."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privedge.cli.options import preset_or_spec
from privedge.errors import ConfigError

if TYPE_CHECKING:
    from privedge_lab.evaluation.identify_parts import Choice

OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the results go.")]
KeptOption = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where the results go; without it they are shown."),
]
OwnersOption = Annotated[
    int | None, typer.Option("--owners", min=2, help="Classes drawn by the seed; default all.")
]
SeedOption = Annotated[
    str, typer.Option("--seed", metavar="SEEDS", help="Of split and training; a comma list.")
]
PresetOption = Annotated[str, typer.Option("--preset", help="Architecture of the models.")]
ComponentsOption = Annotated[
    int | None, typer.Option("--components", min=1, help="Of a subspace preset.")
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", min=1, help="Training steps, if not the preset's.")
]
PhotosOption = Annotated[
    int | None,
    typer.Option("--photos", min=1, help="Learn from so many images a class; ask all others."),
]
GroupOption = Annotated[
    str | None, typer.Option("--group", metavar="FACT", help="Split by it, e.g. document.")
]
TestWhereOption = Annotated[
    str | None,
    typer.Option("--test-where", metavar="FACT=VALUE", help="Exactly these are the test part."),
]
PartOption = Annotated[
    str,
    typer.Option("--part", metavar="test|validation", help="Choose settings on validation."),
]
BaselinesOption = Annotated[
    str, typer.Option("--baselines", metavar="NAMES|none", help="Of pca, knn, cnn, paper:STEPS.")
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with what DIR holds, row by row.")
]


def choice_of(
    owners: int | None,
    part: str,
    group: str | None,
    test_where: str | None,
    photos: int | None = None,
    *,
    words: int = 0,
) -> "Choice":
    """Return how to split a set; the caller fills in the seed. Raises ConfigError."""
    from privedge_lab.evaluation.identify_parts import Choice, Part

    try:
        chosen = Part(part)
    except ValueError:
        raise ConfigError(f"part {part!r} is unknown; choose from test, validation") from None
    if group and test_where and chosen is Part.TEST and not words:
        raise ConfigError("group, test-where: both say which images are asked; leave one out")
    where = None if test_where is None else fact_and_value(test_where, "test-where")
    return Choice(0, owners, chosen, group, where, photos)


def network(
    preset: str,
    encoder: Path | None,
    spec_file: Path | None,
    detector: Path | None = None,
    *,
    usual: str = "auto",
) -> dict[str, Any]:
    """Return the fields of a Task that say which files, and which spec, take a preset's place.

    usual: the command's own preset, which one need not name.
    """
    from privedge.ran.public_files import PublicFiles

    wanted = preset_or_spec(preset, spec_file, usual=usual)
    spec = None if isinstance(wanted, str) else wanted
    return {"spec": spec, "files": PublicFiles.at(encoder=encoder, detector=detector)}


def numbers(text: str, option: str) -> list[int]:
    """Parse whole numbers separated by commas. Raises ConfigError naming the option."""
    if not all(part.isdecimal() for part in text.split(",")):
        raise ConfigError(f"{option} {text!r}: give one number or several, as in 0,1,2")
    return [int(part) for part in text.split(",")]


def names(text: str) -> tuple[str, ...]:
    """Split names separated by commas; `none` gives no names."""
    return () if text == "none" else tuple(text.split(","))


def fact_and_value(text: str, option: str) -> tuple[str, int]:
    """Parse a fact and its value. Raises ConfigError naming the option."""
    fact, _, value = text.partition("=")
    if not value.lstrip("-").isdecimal():
        raise ConfigError(f"{option} {text!r}: give a fact and a number, as in part=3")
    return fact, int(value)
