"""`privedge models`: list and delete an owner's models at the parties."""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from privedge.cli.options import DEFAULT_CONFIG, ConfigOption, JsonOption, path
from privedge.cli.receipt import require_place, save

_QUARANTINED = (
    "quarantined: a share is damaged or missing at a party, or an admin has suspended the model; "
    "ask the operators, or upload it again"
)

_REFUSED = (
    "refused: out of the bounds of the check of new models; find out why with `privedge check`, or "
    "ask the operators to release it"
)

# What an admin is shown of the check at enrolment.
_ENROLMENT = {
    "known": "fits another owner's person",
    "unchecked": "not compared with other owners",
}


def register(app: typer.Typer) -> None:
    """Add `models list`, `models delete` and `models release`."""
    group = typer.Typer(
        name="models",
        help="List, delete and release models.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("list")(_list)
    group.command("delete")(_delete)
    group.command("release")(_release)
    app.add_typer(group)


def _list(
    cohort: Annotated[
        str | None, typer.Option("--cohort", metavar="NAME", help="Only this cohort.")
    ] = None,
    party: Annotated[
        int, typer.Option("--party", min=0, max=1, help="Whose list: party 0 leads.")
    ] = 0,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """List your models, newest first; with an admin's certificate, everybody's.

    "asked" is how many images the party answered while the model was active. An admin also sees
    what came of the check at enrolment, if the operators are told.

    \b
    Examples:
      privedge models list
      privedge models list --cohort digits --json
    """
    from privedge.config import ClientConfig, load
    from privedge.identity.roles import Role
    from privedge.user import models

    at = Role.party(party)
    rows = models.listed(load(ClientConfig, config), cohort, at)
    if as_json:
        print(json.dumps({"models": [asdict(row) for row in rows]}))
        return
    # Plain columns: a table would cut ids and dates to the width of the terminal.
    facts = f"{'state':11}  {'MB':>5}  {'asked':>7}"
    print(f"{'model':32}  {'uploaded (UTC)':16}  {facts}  cohort, owner")
    for row in rows:
        uploaded = datetime.fromtimestamp(row.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        megabytes = f"{row.share_bytes / 1e6:5.1f}"
        known = f" ({_ENROLMENT[row.enrolment]})" if row.enrolment in _ENROLMENT else ""
        whose = f"{row.cohort}, {row.owner}{known}"
        facts = f"{row.state:11}  {megabytes}  {row.images_asked:7}"
        print(f"{row.model_id}  {uploaded}  {facts}  {whose}")
    if any(row.state == "quarantined" for row in rows):
        print(_QUARANTINED, file=sys.stderr)
    if any(row.state == "refused" for row in rows):
        print(_REFUSED, file=sys.stderr)


def _release(
    model_id: Annotated[
        str, typer.Argument(metavar="MODEL", help="Its id, as `models list` shows it.")
    ],
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Let a model become active that the check of new models has refused; for admins.

    It becomes active once an admin of each operator has released it and both parties are up. Only
    your own operator's must be up now.

    \b
    Example:
      privedge models release 0123456789abcdef0123456789abcdef --config admin.toml
    """
    from privedge.config import ClientConfig, load
    from privedge.user import models

    done = models.release(model_id, load(ClientConfig, config))
    if as_json:
        print(json.dumps({"released": model_id, "active": done.active}))
        return
    waits = "waits until an admin of the other operator releases it too"
    if done.away:
        waits += f", and until both parties are up: {done.away}"
    print(f"{model_id}: released, {'active' if done.active else waits}")


def _delete(
    model_id: Annotated[
        str, typer.Argument(metavar="MODEL", help="Its id, as `models list` shows it.")
    ],
    receipt: Annotated[
        Path | None,
        typer.Option(
            "--receipt", metavar="FILE", parser=path, help="Save what both parties sign of it."
        ),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Delete a model from both parties; queries that run on it now still finish.

    If a party cannot be reached, delete it again later. A deleted model may be deleted again for
    another receipt, which `privedge receipt verify` checks.

    An admin's certificate suspends it, until an admin of the other operator deletes it too.

    \b
    Examples:
      privedge models delete 0123456789abcdef0123456789abcdef
      privedge models delete 0123456789abcdef0123456789abcdef --receipt deleted.json
    """
    from privedge.config import ClientConfig, load
    from privedge.user import models

    settings = load(ClientConfig, config)
    if receipt is not None:
        require_place(receipt, settings)
    done = models.delete(model_id, settings)
    if receipt is not None and not done.suspended:
        save(done.receipt, receipt, f"{model_id}: deleted")
    if as_json:
        print(json.dumps({"suspended" if done.suspended else "deleted": model_id}))
    elif done.suspended:
        no_receipt = "; there is no receipt before that" * (receipt is not None)
        print(
            f"{model_id}: suspended until an admin of the other operator deletes it too{no_receipt}"
        )
    else:
        saved = f"; receipt in {receipt}" * (receipt is not None)
        print(f"{model_id}: deleted at both parties{saved}")
