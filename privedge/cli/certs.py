"""`privedge certs`: an authority, certificates from it, requests, renewal and a check."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption
from privedge.identity.roles import Identity, Role

if TYPE_CHECKING:
    from privedge.config import TlsFiles

_Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="The folder that holds the authority.")
]
_Days = Annotated[int, typer.Option("--days", min=1, max=3650, help="How long it is valid.")]
_Role = Annotated[Role, typer.Argument(metavar="ROLE", help=f"One of {', '.join(Role)}.")]
_Name = Annotated[str | None, typer.Argument(metavar="NAME", help="Who it is. Servers have none.")]
_Certificate = Annotated[Path, typer.Argument(metavar="FILE", help="The certificate.")]
_Authority = Annotated[
    Path | None,
    typer.Option("--ca", help="Who vouches for it: `ca`, or the pin. [default: ca.crt beside it]"),
]
_Key = Annotated[
    Path | None, typer.Option("--key", help="Its key. [default: the file's name with .key]")
]


def register(app: typer.Typer) -> None:
    """Add the commands of `certs`."""
    group = typer.Typer(
        name="certs",
        help="Make an authority, and make, request, renew and check certificates.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("init")(_init)
    group.command("issue")(_issue)
    group.command("request")(_request)
    group.command("sign")(_sign)
    group.command("renew")(_renew)
    group.command("check")(_check)
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
    print(
        f"{made['key']}: its key; keep it here. Anyone who has it can make certificates "
        "that are believed wherever this authority is"
    )


def _issue(
    folder: _Folder,
    role: _Role,
    name: _Name = None,
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

    identity = _identity(role, name)
    paths = certificates.issue(folder, identity, days=days)
    if as_json:
        made = {"ca": str(paths.ca), "certificate": str(paths.certificate), "key": str(paths.key)}
        print(json.dumps({**made, "uri": identity.uri, "days": days}))
        return
    print(f"{paths.certificate}: {identity.uri}, for {days} days")
    print(f"{paths.key}: its key; move it to where it is used, readable by that user only")


def _request(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where key and request are.")],
    role: _Role,
    name: _Name = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key, and a request for its certificate. The key stays in DIR.

    A key that is there already is used again, as for a renewal.

    \b
    Examples:
      privedge certs request /etc/privedge/certs party0
      privedge certs request . owner ana
    """
    from privedge.identity import certificates

    identity = _identity(role, name)
    asked, key = certificates.request(folder, identity)
    if as_json:
        print(json.dumps({"request": str(asked), "key": str(key), "uri": identity.uri}))
        return
    print(f"{asked}: asks for {identity.uri}; send it to the authority")
    print(f"{key}: its key; keep it here")


def _sign(
    folder: _Folder,
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="The request.")],
    role: _Role,
    name: _Name = None,
    days: _Days = 90,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to write it. [default: the request's name with .crt]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Sign a request with the authority in DIR, for the role and name given here.

    What the request says of role and name does not count.

    \b
    Examples:
      privedge certs sign ca party0.csr party0
      privedge certs sign ca owner-ana.csr owner ana --days 30
    """
    from privedge.identity import certificates

    identity, written = _identity(role, name), out or request.with_suffix(".crt")
    certificate = certificates.sign(folder, request, identity, written, days=days)
    serial = certificates.serial_of(certificate)
    if as_json:
        made = {"certificate": str(written), "uri": identity.uri, "days": days}
        print(json.dumps({**made, "serial": serial}))
        return
    print(f"{written}: {identity.uri}, for {days} days, serial {serial}; send it back")


def _renew(
    certificate: _Certificate,
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The new one, for the same key.")],
    authority: _Authority = None,
    key: _Key = None,
    as_json: JsonOption = False,
) -> None:
    """Check a new certificate, and put it in the place of FILE in one step.

    Servers and clients that run take it over by themselves.

    \b
    Example:
      privedge certs renew /etc/privedge/certs/party0.crt party0-new.crt
    """
    from privedge.identity import certificates

    renewed = certificates.renew(_files(certificate, authority, key), new)
    if as_json:
        ends = renewed.ends.isoformat()
        print(json.dumps({"certificate": str(certificate), "ends": ends}))
        return
    print(f"{certificate}: renewed until {renewed.ends:%Y-%m-%d}")


def _check(
    certificate: _Certificate,
    authority: _Authority = None,
    key: _Key = None,
    valid_for: Annotated[
        int,
        typer.Option(
            "--valid-for", min=0, max=3650, metavar="DAYS", help="Fail if it ends sooner."
        ),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Say whom a certificate names, until when it is good, and who vouches for it.

    It is checked as a server or client checks its own. The key is checked too if it is there.

    \b
    Examples:
      privedge certs check certs/party0.crt
      privedge certs check party1.crt --ca party1-ca.crt --valid-for 14
    """
    from privedge.identity import certificates, checking

    files = _files(certificate, authority, key)
    identity, chain = checking.check_certificate(certificate, files.vouching_for)
    has_key = key is not None or files.key.exists()
    if has_key:
        checking.check_files(files)
    ends = min(each.not_valid_after_utc for each in chain)
    checking.require_valid_for(certificate, ends, valid_for)
    facts = {
        "certificate": str(certificate),
        "uri": identity.uri,
        "serial": certificates.serial_of(chain[0]),
        "from": chain[0].not_valid_before_utc.isoformat(),
        "ends": ends.isoformat(),
        "chain": [each.subject.rfc4514_string() for each in chain],
        "key": str(files.key) if has_key else None,
    }
    if as_json:
        print(json.dumps(facts))
        return
    print(f"{certificate}: good")
    for name, value in facts.items():
        if name != "certificate" and value is not None:
            print(f"  {name}: {' <- '.join(value) if isinstance(value, list) else value}")


def _files(certificate: Path, authority: Path | None, key: Path | None) -> "TlsFiles":
    from privedge.config import TlsFiles

    return TlsFiles(
        ca=authority or certificate.with_name("ca.crt"),
        certificate=certificate,
        key=key or certificate.with_suffix(".key"),
    )


def _identity(role: Role, name: str | None) -> Identity:
    if name is None and not role.serves:
        raise typer.BadParameter(f"the role {role} needs a NAME", param_hint="NAME")
    return Identity(role, role.value if name is None else name)
