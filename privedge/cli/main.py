"""The command `privedge`: one module of this folder per command, each with `register(app)`.

Every error that a user can cause is one line on standard error. The exit status is 1 for our
errors, 2 for usage and 130 for Ctrl-C. Command modules import nothing heavy; only their functions
do, so `--help` is quick.

The laboratory (the distribution privedge-lab) adds its commands by entry points. Only the names
listed here are looked up, and only in that distribution. If an optional package is missing, the
error names the command that installs it. Any other failed import raises with its traceback, because
then the installation is broken.
"""

import importlib.metadata
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import privedge
from privedge import extras, log
from privedge.cli import (
    calibrate,
    certs,
    check,
    cohorts,
    doctor,
    encoder,
    model,
    models,
    my_exposure,
    photos,
    probes,
    query,
    receipt,
    rivals,
    spec,
    standard_output,
    train,
    train_all,
    up,
    upload,
    verify,
)
from privedge.errors import MissingExtra, PrivEdgeError

PRODUCT = {
    "up": up,
    "certs": certs,
    "doctor": doctor,
    "cohorts": cohorts,
    "encoder": encoder,
    "photos": photos,
    "train": train,
    "train-all": train_all,
    "spec": spec,
    "check": check,
    "model": model,
    "upload": upload,
    "models": models,
    "my-exposure": my_exposure,
    "receipt": receipt,
    "rivals": rivals,
    "probes": probes,
    "calibrate": calibrate,
    "query": query,
    "verify": verify,
}
LABORATORY = ("demo", "split", "attack", "evaluate", "bench", "report")
# In the order of a model's life. `--help` lists the commands in this order.
COMMANDS = ("demo", *PRODUCT, "split", "attack", "evaluate", "bench", "report")

# These do nothing but answer. Others have done something, and work without a standard output.
_ANSWERS = (
    "query",
    "verify",
    "doctor",
    "cohorts",
    "check",
    "models list",
    "receipt verify",
    "certs check",
    "certs check",
    "encoder inspect",
    "model inspect",
    "photos check",
    "--help",
    "--version",
)

_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130


class _InOrder(TyperGroup):
    """List commands in the order of COMMANDS; typer would put plain commands before groups."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for name in COMMANDS if name in self.commands]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in LABORATORY and cmd_name not in self.commands:
            raise MissingExtra(f"{cmd_name} is part of the laboratory: pip install privedge-lab")
        return super().get_command(ctx, cmd_name)


def main() -> None:
    """Run `privedge` with the process's arguments, and exit."""
    # Without this gRPC prints lines of its own. It reads the variable when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    log.configure("WARNING", plain=True)
    if sys.stdout is None and " ".join(sys.argv[1:3]).startswith(_ANSWERS):  # `>&-`
        _stop("the answer would be lost: standard output is closed", _EXIT_FAILED)
    with standard_output.remembered() as output:
        try:
            _run()
        except SystemExit as ending:
            output.finish()
            if output.lost is None or ending.code:
                raise
        except OSError:
            if output.lost is None:
                raise
    if message := output.in_words():
        _stop(message, _EXIT_FAILED)
    sys.exit(_EXIT_FAILED)


def _run() -> None:
    """Run the command. Ends in SystemExit, unless something unforeseen happens."""
    try:
        build(sys.argv[1] if len(sys.argv) > 1 else None)(prog_name="privedge")
    except PrivEdgeError as error:
        _stop(str(error), _EXIT_FAILED)
    except ModuleNotFoundError as error:
        wanted = extras.missing(error, "this command needs", extras.FOR_COMMANDS)
        if wanted is error:
            raise
        _stop(str(wanted), _EXIT_FAILED)
    except KeyboardInterrupt:
        _stop("interrupted", _EXIT_INTERRUPTED)
    except SystemExit as ending:
        if ending.code == _EXIT_INTERRUPTED:  # typer turns Ctrl-C into this status
            _stop("interrupted", _EXIT_INTERRUPTED)
        raise


def build(command: str | None = None) -> typer.Typer:
    """Build the application with every command.

    If `command` is one of the product's, the laboratory is left out: it loads for itself only, and
    a broken one stops nobody who asks or uploads.
    """
    app = typer.Typer(
        name="privedge",
        cls=_InOrder,
        callback=_options,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        # Plain help keeps the line breaks of the examples.
        rich_markup_mode=None,
    )
    for module in PRODUCT.values():
        module.register(app)
    for entry in () if command in PRODUCT else _of_the_laboratory():
        entry.load()(app)
    return app


def _of_the_laboratory() -> list[importlib.metadata.EntryPoint]:
    """Return the laboratory's commands; none if it is not installed. A broken one raises."""
    try:
        lab = importlib.metadata.distribution("privedge-lab")
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        entry
        for entry in lab.entry_points
        if entry.group == "privedge.commands" and entry.name in LABORATORY
    ]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"privedge {privedge.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print it and exit."
        ),
    ] = False,
) -> None:
    """Private prediction with secret-shared one-class models: train, share, serve, ask."""


def _stop(message: str, code: int) -> None:
    print(f"privedge: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
