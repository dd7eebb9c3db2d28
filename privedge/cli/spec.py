"""`privedge spec`: the architecture of a model, as operators name it in `spec_file`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from privedge.cli.options import ForceOption, JsonOption, KeyFileOption, lock_to_read, path


def register(app: typer.Typer) -> None:
    """Add `spec`."""
    app.command("spec")(_spec)


def _spec(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", parser=path, help="What `privedge train` has written."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE.json", parser=path, help="Write it to this file."),
    ] = None,
    key_file: KeyFileOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the architecture of a RAN, which is public, without its parameters.

    Operators give the file that --out writes as `spec_file` of a cohort, at both parties.

    \b
    Examples:
      privedge spec ana.ran
      privedge spec ana.ran --out faces.json
    """
    from privedge import private_file
    from privedge.errors import CheckpointError
    from privedge.ran.in_words import takes
    from privedge.user import checkpoint

    spec = checkpoint.load(file, lock_to_read(file, key_file)).spec
    text = f"{spec.to_json()}\n"
    if out is not None:
        private_file.require_writable(out)
        if out.exists() and not force:
            raise CheckpointError(f"{out}: exists; choose another name, or replace it with --force")
        private_file.write(out, text.encode(), mode=0o644)
    if as_json:
        written = {"file": str(out)} if out is not None else {}
        print(json.dumps({"digest": spec.digest(), "spec": json.loads(text), **written}))
    elif out is None:
        print(text, end="")
    else:
        print(f"{out}: {spec.name}, {takes(spec)}, SHA-256 {spec.digest()}")
