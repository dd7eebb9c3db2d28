"""The parts of every server: health checks, reflection, and an orderly end."""

import signal
import threading
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from parties.serving.health import Health

_GRACE_S = 10.0


def add_health(server: grpc.Server) -> Health:
    """Add the standard health service. All services are NOT_SERVING until they are set."""
    statuses = Health()
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    return statuses


def add_reflection(server: grpc.Server, services: list[str]) -> None:
    """Let an operator's tools list the services (role admin)."""
    names = [*services, health.SERVICE_NAME, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)


def run_until_told(
    server: grpc.Server,
    statuses: Health,
    *,
    end_calls: Callable[[], object] = lambda: None,
) -> None:
    """Wait for SIGTERM or SIGINT. Then refuse new calls, and let running calls finish.

    `end_calls` must end the calls that would never finish by themselves.
    """
    told = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: told.set())
    told.wait()
    statuses.end()
    stopped = server.stop(_GRACE_S)
    end_calls()
    stopped.wait()
