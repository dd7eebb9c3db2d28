"""`privedge receipt`: check what both parties have signed, without asking them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privedge.cli.options import JsonOption, path

if TYPE_CHECKING:
    from privedge.config import ClientConfig
    from privedge.identity.receipts import SignedReceipt


def register(app: typer.Typer) -> None:
    """Add `receipt verify`."""
    group = typer.Typer(
        name="receipt",
        help="Check a receipt that `--receipt` of `upload` or `models delete` has saved.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.callback()(_group)
    group.command("verify")(_verify)
    app.add_typer(group)


def _group() -> None:
    """Keep `verify` a command of its own, although it is the only one."""


def _verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", parser=path, help="The receipt.")],
    ca: Annotated[
        Path,
        typer.Option(
            "--ca",
            metavar="FILE",
            parser=path,
            help="The authorities of both parties (PEM), one after another.",
        ),
    ] = Path("ca.crt"),
    as_json: JsonOption = False,
) -> None:
    """Check both signatures, certificates and times of a receipt. It asks nobody.

    The certificates must have been valid at the time that each party states.

    \b
    Example:
      privedge receipt verify deleted.json --ca ca.crt
    """
    from privedge.errors import CertificateError, ReceiptError
    from privedge.identity.pem_files import read_chain
    from privedge.identity.receipts import ACTIVATION, PARTIES, read_receipt

    receipt = read_receipt(file)
    try:
        read_chain(ca)
    except CertificateError as error:
        raise ReceiptError(
            f"--ca {error}; it needs the authorities of both parties, which operators hand over"
        ) from None
    try:
        receipt.verify(dict.fromkeys(PARTIES, ca))
    except ReceiptError as error:
        raise ReceiptError(f"{file}: {error}") from None
    stated = [asdict(each.facts) for each in receipt.statements]
    if as_json:
        print(json.dumps({"verified": str(file), "statements": stated}))
        return
    facts = receipt.facts
    state = "active" if facts.event == ACTIVATION else "deleted"
    print(f"{file}: good: model {facts.model} of {facts.owner} in {facts.cohort} is {state}")
    for party, each in zip(PARTIES, stated, strict=True):
        print(f"{party.label}: {each['time']}, snapshot after it: {each['snapshot'] or 'none'}")


def require_place(file: Path, config: "ClientConfig") -> None:
    """Raise ReceiptError before anything is asked, if no receipt could be had or saved."""
    from privedge.errors import CheckpointError, ReceiptError
    from privedge.private_file import require_writable

    if config.tls is None:
        raise ReceiptError("--receipt: without TLS the parties have no keys to sign with")
    if file.exists():
        raise ReceiptError(f"{file}: is there already; choose another name")
    try:
        require_writable(file)
    except CheckpointError as error:
        raise ReceiptError(str(error)) from None


def save(receipt: "SignedReceipt | None", file: Path, done: str) -> None:
    """Write a receipt. Raises ReceiptError, which begins with what is `done`, if there is none."""
    from privedge import private_file
    from privedge.errors import ReceiptError

    if receipt is None:
        raise ReceiptError(f"{done}, but not signed by both parties; ask their operators why")
    private_file.write(file, receipt.to_text().encode())
