"""Options that several commands of `privedge attack` share."""

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path, typer.Option("--data", metavar="FILE.npz", help="images (uint8) and labels.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Keep the rows in this JSON file.")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with the file of --out.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Of images, models, attackers.")]


def numbers(text: str, option: str) -> list[float]:
    """Read an option of several numbers above 0; returns them sorted."""
    try:
        found = sorted(float(each) for each in text.split(","))
    except ValueError:
        found = []
    if not found or found[0] <= 0:
        raise typer.BadParameter("needs numbers above 0, with commas between", param_hint=option)
    return found
