"""`privedge upload`: share a trained RAN with both parties and activate it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from privedge.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, path
from privedge.cli.progress import bytes_bar

# What is said of the check at enrolment, if the owner is told.
_ENROLMENT = {
    "": "",
    "new": "; this person is not among the other owners",
    "known": "; this person is among the other owners already",
    "unchecked": "; with fewer than two other owners it was not compared with theirs",
}


def register(app: typer.Typer) -> None:
    """Add `upload`."""
    app.command("upload")(_upload)


def _upload(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", parser=path, help="What `privedge train` has written."),
    ],
    cohort: Annotated[str, typer.Option("--cohort", metavar="NAME", help="The set to join.")],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Split a trained RAN into two shares, send one to each party, and activate it.

    It replaces your earlier model of the cohort, if there is one. Where the operators check new
    models against those of other owners, it says what came of it, or they do not accept it.

    \b
    Example:
      privedge upload ana.ran --cohort digits --config owner-ana.toml
    """
    from privedge.config import ClientConfig, load
    from privedge.user import checkpoint, upload

    ran = checkpoint.load(file)
    settings = load(ClientConfig, config)
    with bytes_bar() as progress:
        receipt = upload.send(ran, cohort, settings, progress)
    if as_json:
        print(
            json.dumps(
                {
                    "model_id": receipt.model_id,
                    "snapshot_id": receipt.snapshot_id,
                    "bytes_per_party": receipt.bytes_per_party,
                    "replaced": receipt.replaced,
                    "enrolment": receipt.enrolment,
                }
            )
        )
        return
    size_mb = receipt.bytes_per_party / 1e6
    place = f" in place of {receipt.replaced}" if receipt.replaced else ""
    print(
        f"{receipt.model_id}: active in {cohort}{place}; one share of {size_mb:.1f} MB at each "
        f"party{_ENROLMENT[receipt.enrolment]}"
    )
