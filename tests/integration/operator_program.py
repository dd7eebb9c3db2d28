"""An operator's own program: `python operator_program.py FILE` serves party 0 and the orders."""

import signal
import sys
import threading

from privedge import log

# isort: split
import grpc

from parties.embed import GuardedServer, serving
from privedge.identity.roles import Role
from privedge.rpc.server import caller

SERVICE = "shop.v1.Orders"
ROLES = {"List": {Role.CLIENT}, "Count": {Role.CLIENT, Role.ADMIN}}


def add_orders_to(server: GuardedServer) -> None:
    """What generated code does to add a servicer."""

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        return request + b" for " + caller(context).uri.encode()

    handlers = {method: grpc.unary_unary_rpc_method_handler(answer) for method in ROLES}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


def main(config_file: str) -> None:
    """Serve until SIGTERM, which is this program's own affair."""
    log.configure()
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    access = {f"/{SERVICE}/{method}": roles for method, roles in ROLES.items()}
    server = GuardedServer(config_file, access)
    add_orders_to(server)
    with serving(server):
        told.wait()


if __name__ == "__main__":
    main(sys.argv[1])
