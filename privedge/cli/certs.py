"""`privedge certs`: a development certificate authority, and certificates from it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from privedge.cli.options import JsonOption
from privedge.identity.roles import Identity, Role

_Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder that holds the authority.")
]
_Days = Annotated[int, typer.Option("--days", min=1, max=3650, help="How long it is valid.")]


def register(app: typer.Typer) -> None:
    """Add `certs init` and `certs issue`."""
    group = typer.Typer(
        name="certs",
        help="Make a development authority and certificates.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("init")(_init)
    group.command("issue")(_issue)
    app.add_typer(group)


def _init(folder: _Folder, days: _Days = 365, as_json: JsonOption = False) -> None:
    """Create a certificate authority in DIR.

    \b
    Example:
      privedge certs init certs
    """
    from privedge.identity import certificates

    certificates.create_authority(folder, days=days)
    made = {"certificate": str(folder / "ca.crt"), "key": str(folder / "ca.key"), "days": days}
    if as_json:
        print(json.dumps(made))
        return
    print(f"{made['certificate']}: an authority for {days} days; give everybody a copy")
    print(f"{made['key']}: its key; anyone who has it can pose as anybody, so keep it here")


def _issue(
    folder: _Folder,
    role: Annotated[Role, typer.Argument(metavar="ROLE", help=f"One of {', '.join(Role)}.")],
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Who it is. Servers have none."),
    ] = None,
    days: _Days = 90,
    as_json: JsonOption = False,
) -> None:
    """Issue a certificate and its key for one role.

    \b
    Examples:
      privedge certs issue certs party0
      privedge certs issue certs owner ana
      privedge certs issue certs client ward-3 --days 30
    """
    from privedge.identity import certificates

    if name is None and not role.serves:
        raise typer.BadParameter(f"the role {role} needs a NAME", param_hint="NAME")
    identity = Identity(role, role.value if name is None else name)
    paths = certificates.issue(folder, identity, days=days)
    if as_json:
        made = {"ca": str(paths.ca), "certificate": str(paths.certificate), "key": str(paths.key)}
        print(json.dumps({**made, "uri": identity.uri, "days": days}))
        return
    print(f"{paths.certificate}: {identity.uri}, for {days} days")
    print(f"{paths.key}: its key; move it to where it is used, readable by that user only")
