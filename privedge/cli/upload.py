"""`privedge upload`: share a trained model with both parties and activate it."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    KeyFileOption,
    lock_to_read,
    path,
)
from privedge.cli.progress import bytes_bar, progress_bar
from privedge.cli.receipt import require_place, save

if TYPE_CHECKING:
    from privedge.config import ClientConfig

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
        typer.Argument(
            metavar="FILE",
            parser=path,
            help="What `train` or `model export` wrote, or a folder of `.ran` files.",
        ),
    ],
    cohort: Annotated[str, typer.Option("--cohort", metavar="NAME", help="The set to join.")],
    receipt: Annotated[
        Path | None,
        typer.Option(
            "--receipt", metavar="FILE", parser=path, help="Save what both parties sign of it."
        ),
    ] = None,
    key_file: KeyFileOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Split a trained model into two shares, send one to each party, and activate it.

    It replaces your earlier model of the cohort, if there is one. Where the operators check new
    models against those of other owners, it says what came of it, or they do not accept it.

    A registrar of the cohort uploads a folder of models at once, of owners whose names begin with
    the registrar's and a dot. It ends with 1 if some are refused; the others are active.

    \b
    Examples:
      privedge upload ana.ran --cohort digits --config owner-ana.toml
      privedge upload models/ --cohort digits --config owner-clinic.toml
    """
    from privedge.config import ClientConfig, load
    from privedge.user import served_model, upload

    if file.is_dir():
        if receipt is not None:
            raise typer.BadParameter("a receipt is of one model; leave --receipt out")
        _upload_folder(file, cohort, key_file, load(ClientConfig, config), as_json)
        return
    ran = served_model.load(file, lock_to_read(file, key_file))
    settings = load(ClientConfig, config)
    if receipt is not None:
        require_place(receipt, settings)
    with bytes_bar() as progress:
        done = upload.send(ran, cohort, settings, progress, signed=receipt is not None)
    if receipt is not None:
        save(done.signed, receipt, f"{done.model_id}: active")
    if as_json:
        print(
            json.dumps(
                {
                    "model_id": done.model_id,
                    "snapshot_id": done.snapshot_id,
                    "bytes_per_party": done.bytes_per_party,
                    "replaced": done.replaced,
                    "enrolment": done.enrolment,
                }
            )
        )
        return
    size_mb = done.bytes_per_party / 1e6
    saved = f"; receipt in {receipt}" * (receipt is not None)
    place = f" in place of {done.replaced}" if done.replaced else ""
    print(
        f"{done.model_id}: active in {cohort}{place}; one share of {size_mb:.1f} MB at each "
        f"party{_ENROLMENT[done.enrolment]}{saved}"
    )


def _upload_folder(
    folder: Path, cohort: str, key_file: Path | None, config: "ClientConfig", as_json: bool
) -> None:
    from privedge.errors import CheckpointError
    from privedge.user import checkpoint, upload_many

    files = sorted(folder.glob("*.ran"))
    if not files:
        raise CheckpointError(f"{folder}: has no .ran file")
    models = (checkpoint.load(each, lock_to_read(each, key_file)) for each in files)
    with progress_bar() as bar:
        done = upload_many.send_many(
            models,
            cohort,
            config,
            lambda doing, active, read: bar(f"{doing}, {read} read", active, len(files)),
        )
    if as_json:
        refused = [
            {"owner": each.owner, "model_id": each.model_id, "reason": str(each.error)}
            for each in done.refused
        ]
        print(json.dumps(vars(done) | {"refused": refused}))
    else:
        place = f", {done.replaced} in place of earlier ones" * bool(done.replaced)
        size_mb = done.bytes_per_party / 1e6
        print(f"{done.active} models active in {cohort}{place}; {size_mb:.1f} MB at each party")
        for each in done.refused:
            print(f"{each.owner}: refused: {each.error}", file=sys.stderr)
    if done.refused:
        raise typer.Exit(1)
