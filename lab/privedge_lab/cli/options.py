"""Options that several groups of the laboratory share."""

from pathlib import Path
from typing import Annotated

import typer

RowsOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE.json", help="Store each row here.")
]
ResumeRowsOption = Annotated[bool, typer.Option("--resume", help="Go on with what --out holds.")]
LabelledArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA.npz", help="images (uint8) and labels; is_test chooses the test part."
    ),
]
