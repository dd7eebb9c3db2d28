"""`privedge check`: check a model at home as the parties do before it becomes active."""

import json
from pathlib import Path
from typing import Annotated

import typer

from privedge.cli.options import JsonOption, KeyFileOption, lock_to_read, path


def register(app: typer.Typer) -> None:
    """Add `check`."""
    app.command("check")(_check)


def _check(
    model: Annotated[Path, typer.Argument(metavar="MODEL.ran", parser=path)],
    file: Annotated[
        Path | None,
        typer.Option(
            "--probes", metavar="FILE", parser=path, help="The cohort's, from its operators."
        ),
    ] = None,
    key_file: KeyFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a model as the parties do before it becomes active; exit status 1 if they refuse it.

    They say only that they refuse it, and not why. This says why.

    \b
    Example:
      privedge check ana.ran --probes probes.npz
    """
    from privedge.errors import CheckpointError
    from privedge.ran import probes
    from privedge.user import checkpoint, model_check

    ran = checkpoint.load(model, lock_to_read(model, key_file))
    found = model_check.faults(ran, probes.read(file, ran.spec) if file else None)
    if as_json:
        print(json.dumps({"model": str(model), "faults": found}))
    elif not found:
        print(f"{model}: within bounds" + ("" if file else "; no probes were given"))
    if found:
        raise CheckpointError(f"{model}: {'; '.join(found)}")
