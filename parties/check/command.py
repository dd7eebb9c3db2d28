"""`python -m parties check`: its arguments, and what it prints."""

import argparse
import os
from pathlib import Path
from typing import Any

from parties.check.file import read
from privedge import log
from privedge.errors import ConfigError
from privedge.findings import Finding, report

NAME = "check"


def add_to(commands: "argparse._SubParsersAction[Any]") -> None:
    """Declare the command."""
    what = "say what is wrong with a server's file and this machine; one line for a fault"
    command = commands.add_parser(NAME, help=what, description=f"{what[0].upper()}{what[1:]}.")
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML")
    command.add_argument("--json", action="store_true", help="one JSON object instead of lines")


def run(arguments: argparse.Namespace) -> int:
    """Check, and print what was found; returns the exit status: 1 if there is a fault."""
    # What gRPC and its callers would write of connections that fail is in the lines of the check.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    log.configure("CRITICAL")
    from parties.check.server import check_server, role_of  # imports gRPC

    facts = {"file": str(arguments.config)}
    try:
        config = read(arguments.config)
    except ConfigError as error:
        faults = (Finding("file", line) for line in (str(error), *error.more))
        return report(faults, facts, as_json=arguments.json)
    facts["server"] = role_of(config).value
    return report(check_server(config), facts, as_json=arguments.json)
