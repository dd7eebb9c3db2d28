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
