"""Start one server: `python -m parties party|dealer|split --config FILE`.

Or say what is wrong before it starts: `python -m parties check --config FILE`.
Or look after a party's state: `python -m parties backup|restore|verify|adopt|keys|refresh|audit`.
Or read its histograms of scores: `python -m parties telemetry show --config FILE`.
Or ask a server whether it serves: `python -m parties health --config FILE`.
"""

import sys

from privedge.errors import ConfigError
from privedge.systems import require_linux

try:
    require_linux("the servers run")  # what is imported below is not there elsewhere
except ConfigError as error:
    sys.exit(f"privedge: {error}")

from parties.serving import ending

if __name__ == "__main__" and sys.argv[1:2] in (["party"], ["dealer"], ["split"]):
    ending.leave_when_told()  # before the imports below, which take half a second

import argparse
import importlib.metadata
import os
from pathlib import Path

from parties.check import command as check
from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from parties.config.server import ServerConfig, require_said_twice
from parties.cores import stay_on
from parties.descriptors import allow_many_connections
from parties.memory import keep_freed_pages
from parties.party.upkeep import commands
from parties.serving import health_command
from parties.serving.handshake_log import log_failed_handshakes
from privedge import extras, log, traces
from privedge.config import load
from privedge.errors import CertificateError, DatabaseAway, MissingExtra, PrivEdgeError

# A server that its operator must mend before it can start. A supervisor need not try again
# (`RestartPreventExitStatus=78`), unless only a database is away.
_FOR_ITS_OPERATOR = (ConfigError, CertificateError, MissingExtra)
_SERVERS = ("party", "dealer", "split")
# What does not serve; each returns the exit status.
_COMMANDS = {
    **dict.fromkeys(commands.NAMES, commands.run),
    health_command.NAME: health_command.run,
}

_EXAMPLE = """example:
  python -m parties dealer --config dealer.toml
  python -m parties party --config party1.toml
  python -m parties party --config party0.toml
  python -m parties split --config split.toml
  python -m parties check --config party0.toml
  python -m parties backup --config party0.toml --to /backup/party0-monday
  python -m parties health --config party0.toml --within 60

Three operators run these: one party 0, one party 1 and one the dealer. They must not collude with
one another. The split server is a plaintext baseline for comparison: it sees what devices send it,
and protects nothing.

backup, restore, verify and adopt work on the state folder of one party, where that party runs.
docs/how-to/back-up.md explains them, and what to do when a party refuses to start. keys makes and
rotates the keys with which that folder is encrypted, and refresh gives both parties new shares of
the same models (docs/how-to/encrypt-and-rotate.md). audit shows and checks the party's audit log
(docs/how-to/budgets-and-audit.md).

A server that its operator must mend before it can start ends with status 78, and a party whose
database is away with 1. parties/samples/ has one file of each kind; docs/how-to/deploy.md explains.
"""


def main() -> int:
    """Parse the arguments, read the configuration, and serve. Returns the exit status."""
    arguments = _parser().parse_args()
    try:
        if arguments.server == check.NAME:
            return check.run(arguments)
        log_failed_handshakes()
        log.configure()
        allow_many_connections()
        return _run(arguments)
    except PrivEdgeError as error:
        return _refused(arguments.server, error)
    except ModuleNotFoundError as error:
        wanted = extras.missing(error, "this server needs", extras.FOR_SERVERS)
        if wanted is error:
            raise
        return _refused(arguments.server, wanted)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.server == "dealer":
        _dealer(arguments.config, arguments.insecure_loopback)
    elif arguments.server == "party":
        _party(arguments.config, arguments.insecure_loopback)
    elif arguments.server == "split":
        _split(arguments.config, arguments.insecure_loopback)
    elif arguments.server in _COMMANDS:
        return _COMMANDS[arguments.server](arguments)
    else:
        _worker(arguments.config, arguments.slot, arguments.socket, arguments.cores)
    return 0


def _refused(server: str, error: Exception) -> int:
    print(f"privedge {server}: {error}", file=sys.stderr)  # noqa: T201
    waits = isinstance(error, _FOR_ITS_OPERATOR) and not isinstance(error, DatabaseAway)
    return os.EX_CONFIG if waits and server in _SERVERS else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m parties",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    servers = parser.add_subparsers(dest="server", required=True, metavar="COMMAND")
    for name, what in (
        ("party", "party 0 or party 1"),
        ("dealer", "the dealer"),
        ("split", "the split server, which sees activations"),
    ):
        server = servers.add_parser(name, help=f"serve as {what}, until SIGTERM")
        server.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML")
        server.add_argument(
            "--insecure-loopback",
            action="store_true",
            help="no TLS, loopback only; the file must say insecure_loopback = true too",
        )
    check.add_to(servers)
    commands.add_to(servers)
    health_command.add_to(servers)
    # Started by a party for itself; not listed in the help.
    worker = servers.add_parser("worker")
    worker.add_argument("--config", type=Path, required=True)
    worker.add_argument("--slot", type=int, required=True)
    worker.add_argument("--socket", type=Path, required=True)
    worker.add_argument("--cores", type=int, nargs="+")
    return parser


# The imports below are late so that a front end never loads torch (docs/adr/0001).


def _party(config_file: Path, insecure: bool) -> None:
    # Its workers load these packages. Without them, workers would fail and be restarted for ever.
    extras.require(("torch", "numba", "crypten"), "this server needs", extras.FOR_SERVERS)
    from parties.party.server import serve_party

    os.umask(0o077)  # SQLite's files hold salts, and take their mode from here
    config = load(PartyConfig, config_file)
    _be_seen_as(config, f"party {config.index}")
    require_said_twice(config, config_file, insecure)
    serve_party(config, config_file)


def _dealer(config_file: Path, insecure: bool) -> None:
    from parties.dealer import serve_dealer

    config = load(DealerConfig, config_file)
    _be_seen_as(config, "dealer")
    require_said_twice(config, config_file, insecure)
    keep_freed_pages()
    serve_dealer(config)


def _be_seen_as(config: ServerConfig, name: str) -> None:
    """From now on log, and send traces, as the server's file says. `name`: of the process."""
    if config.log_format == "json":
        log.configure(json_of=name)
    traces.start(name, config.traces)


def _split(config_file: Path, insecure: bool) -> None:
    """Start the laboratory's server, which is found by its entry point."""
    try:
        lab = importlib.metadata.distribution("privedge-lab")
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtra(
            "the split server is part of the laboratory: pip install privedge-lab"
        ) from None
    (serve,) = (
        entry
        for entry in lab.entry_points
        if entry.group == "privedge.servers" and entry.name == "split"
    )
    serve.load()(config_file, insecure)


def _worker(config_file: Path, slot: int, socket: Path, cores: list[int] | None) -> None:
    config = load(PartyConfig, config_file)
    _be_seen_as(config, f"party {config.index} worker {slot}")
    if cores is not None:
        stay_on(cores)  # before any other thread starts

    from parties.worker.process import serve

    os.umask(0o077)
    keep_freed_pages()
    serve(config, slot, socket)


if __name__ == "__main__":
    status = main()
    if sys.argv[1] in (*_SERVERS, "worker"):
        ending.leave(status)
    sys.exit(status)
