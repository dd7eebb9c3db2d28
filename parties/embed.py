"""Serve a party inside a program of its operator, beside the operator's own gRPC services.

    server = GuardedServer("party0.toml", access={"/shop.v1.Orders/List": {Role.CLIENT}})
    add_OrdersServicer_to_server(Orders(), server)
    with serving(server) as party:
        ...

One port, one certificate and one gate serve both. gRPC takes interceptors only when it builds a
server, and any port that is added later would be a way around TLS. So the server is built here, and
the program gets an object that takes services and nothing else. Sees what a front end sees.
"""

import re
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from parties.config.party import PartyConfig
from parties.cores import usable_cores
from parties.party.server import Party, assembled
from parties.serving.lifecycle import end_in_order
from privedge.config import StrPath, load
from privedge.errors import ConfigError
from privedge.identity.roles import Role
from privedge.rpc.access import ACCESS

_METHOD = re.compile(r"/([A-Za-z_][\w.]*)/[A-Za-z_]\w*")
_RESERVED = ("privedge.", "grpc.")


class GuardedServer:
    """Takes an operator's own services, as `add_...Servicer_to_server` adds them to a server.

    Example:
        server = GuardedServer("party0.toml", access={"/shop.v1.Orders/List": {Role.CLIENT}})
        add_OrdersServicer_to_server(Orders(), server)
    """

    def __init__(self, config_file: StrPath, access: Mapping[str, Collection[Role]]) -> None:
        """Read the party's configuration, and who may call the operator's own methods.

        Args:
            config_file: the party's TOML file, as `python -m parties party` reads it.
            access: the roles that may call each method, by its full name "/package.Service/Method".
                Nobody may call a method that is not in it.

        Raises:
            ConfigError: the file cannot be used or has no [tls], or `access` names a method of
                privedge or gRPC, or no role.
        """
        self.config_file = Path(config_file)
        self.config = load(PartyConfig, self.config_file)
        if self.config.tls is None:
            raise ConfigError(f"{self.config_file}: a party is embedded only with [tls]")
        self.access = {method: _roles(method, roles) for method, roles in access.items()}
        self._generic: list[Any] = []
        self._registered: list[tuple[str, Mapping[str, Any]]] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Implements what generated code calls on a grpc.Server.

        Each handler is asked for methods of `access` only; others do not exist.
        """
        self._generic.extend(_OwnMethods(handler, self.access) for handler in handlers)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Implements what generated code calls on a grpc.Server.

        Raises ConfigError if nobody may call one of the methods.
        """
        for method in handlers:
            if (full := f"/{service}/{method}") not in self.access:
                raise ConfigError(f"{full}: nobody may call it; name its roles in `access`")
        self._registered.append((service, handlers))

    def add_own_services(self, server: grpc.Server) -> None:
        """Add what was taken to the real server, after the party's services: those come first."""
        server.add_generic_rpc_handlers(self._generic)
        for service, handlers in self._registered:
            server.add_registered_method_handlers(service, handlers)


class _OwnMethods(grpc.GenericRpcHandler):
    """A handler of the operator's, which may claim any method, for the operator's methods only."""

    def __init__(self, handler: grpc.GenericRpcHandler, methods: Container[str]) -> None:
        self._handler, self._methods = handler, methods

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """See grpc.GenericRpcHandler."""
        if handler_call_details.method not in self._methods:
            return None
        return self._handler.service(handler_call_details)


class EmbeddedParty:
    """A party that is running in this process."""

    def __init__(self, party: Party) -> None:
        self._party = party

    @property
    def port(self) -> int:
        """The port that the party and the operator's services listen on."""
        return self._party.port

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the party now, as its status says; empty if nothing is."""
        return tuple(self._party.readiness.faults)


@contextmanager
def serving(server: GuardedServer) -> Iterator[EmbeddedParty]:
    """Serve the party and the services of `server` during the block.

    At its end new calls are refused, running ones may finish, and the workers are stopped. Signals,
    logging and this process's cores are left to the program.

    Args:
        server: the services; use it once.

    Raises:
        ConfigError, CertificateError: the party cannot start, or `server` is any other server. One
            that exists already has no gate, and cannot be given one.
    """
    if not isinstance(server, GuardedServer):
        raise ConfigError(
            f"a {type(server).__name__} cannot be guarded, because gRPC takes interceptors only "
            "when it builds a server: use parties.embed.GuardedServer"
        )
    config = server.config
    cores = usable_cores() if config.one_core_workers else ()
    access = {**ACCESS, **server.access}
    with (
        assembled(config, server.config_file, cores, access) as party,
        party.metrics.served(),
    ):
        server.add_own_services(party.server)
        party.start()
        party.readiness.start()
        try:
            yield EmbeddedParty(party)
        finally:
            end_in_order(
                party.server, party.statuses, drain=party.drain, end_calls=party.side.end_calls
            )
            party.readiness.stop()


def _roles(method: str, roles: Collection[Role]) -> frozenset[Role]:
    match = _METHOD.fullmatch(method)
    if match is None:
        raise ConfigError(f"access: {method!r} is not of the form /package.Service/Method")
    if match[1].startswith(_RESERVED):
        raise ConfigError(f"access: {method} is not the operator's own; its roles are fixed")
    if isinstance(roles, str) or not roles or not all(isinstance(role, Role) for role in roles):
        raise ConfigError(
            f"access: {method}: give the roles that may call it, such as {{Role.ADMIN}}"
        )
    return frozenset(roles)
