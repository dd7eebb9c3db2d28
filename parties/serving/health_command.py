"""`python -m parties health`: ask the server of a configuration file how it is.

For container engines, orchestrators and scripts, which know no mutual TLS. The server is asked with
its own certificate, at its own address.
"""

import argparse
import math
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import BaseModel

from parties.config.dealer import DealerConfig
from parties.config.party import PartyConfig
from parties.config.server import ServerConfig
from privedge.config import load
from privedge.identity.roles import Identity, Role
from privedge.rpc.channel import open_channel
from privedge.rpc.health import serves

NAME = "health"

# How long one attempt lasts: a server that has just started may not have been there at its begin.
_ATTEMPT_S = 1.0
_PAUSE_S = 0.1
_LONGEST_S = 86_400
# Who listens everywhere is asked on this machine.
_HERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - nothing is bound here


class _AnyServer(BaseModel):
    """What tells the two kinds of files apart."""

    index: int | None = None


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the command."""
    command = commands.add_parser(
        NAME,
        help="ask a running party or dealer whether it serves",
        description="Ask the server of a configuration file whether it serves, with its own "
        "certificate. Exits with 0 if it does, and otherwise with 1 and one line.",
    )
    command.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML")
    command.add_argument(
        "--alive",
        action="store_true",
        help="ask only whether the process lives; this depends on no other server",
    )
    command.add_argument(
        "--within", type=_seconds, default=3, metavar="SECONDS",
        help="wait so long for it to serve (default: 3)",
    )  # fmt: skip


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= _LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text}: not a number of seconds up to {_LONGEST_S}")
    return found


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print one line. Returns the exit status. Raises PrivEdgeError."""
    config, role = _server(arguments.config)
    channel = open_channel(
        _reached(config.listen), server=role, tls=config.tls, claim=Identity(role, role.value)
    )
    with closing(channel):
        fault = _fault(channel, role, arguments.alive, arguments.within)
    sys.stdout.write(f"{role.label}: {fault or ('lives' if arguments.alive else 'serves')}\n")
    return 1 if fault else 0


def _server(path: Path) -> tuple[ServerConfig, Role]:
    if load(_AnyServer, path).index is None:
        return load(DealerConfig, path), Role.DEALER
    party = load(PartyConfig, path)
    return party, Role.party(party.index)


def _reached(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    return f"{_HERE.get(host, host)}:{port}"


def _fault(channel: grpc.Channel, role: Role, alive: bool, within_s: float) -> str:
    """Wait for it to serve. Return what is wrong at the end; empty if nothing is."""
    service = "" if alive else f"privedge.v1.{'Dealer' if role is Role.DEALER else 'Party'}"
    until, pause = time.monotonic() + within_s, threading.Event()
    while (left := until - time.monotonic()) > 0:
        if serves(channel, service, within_s=min(_ATTEMPT_S, left)):
            return ""
        pause.wait(_PAUSE_S)
    return _why(channel, service)


def _why(channel: grpc.Channel, service: str) -> str:
    """Name the causes that are not well, as they stand in its health."""
    try:
        every = health_pb2_grpc.HealthStub(channel).List(
            health_pb2.HealthListRequest(), timeout=_ATTEMPT_S
        )
    except grpc.RpcError:
        return "does not answer; is it running, and is its certificate valid?"
    serving = health_pb2.HealthCheckResponse.SERVING
    causes = sorted(
        name.removeprefix(f"{service}/")
        for name, each in every.statuses.items()
        if name.startswith(f"{service}/") and each.status != serving
    )
    return f"does not serve: {', '.join(causes) or 'it is starting, or about to end'}"
