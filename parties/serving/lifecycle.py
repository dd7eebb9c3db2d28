"""The parts of every server: health checks, reflection, and an orderly end."""

import time
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from parties.serving import ending, notify
from parties.serving.health import Health

_GRACE_S = 10.0
# For the last answers, which are still being sent.
_LEAST_S = 1.0


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
    drain: Callable[[float], object] = lambda _: None,
    end_calls: Callable[[], object] = lambda: None,
) -> None:
    """Wait for SIGTERM or SIGINT. Then refuse new calls, and let running calls finish.

    `drain(seconds)` must refuse new work, and wait at most so long for what is under way; other
    calls are answered meanwhile. `end_calls` must end the calls that would never finish by
    themselves.
    """
    notify.tell(READY="1")
    ending.wait_until_told()
    notify.tell(STOPPING="1")
    deadline = time.monotonic() + _GRACE_S
    statuses.end()
    drain(_GRACE_S)
    stopped = server.stop(max(_LEAST_S, deadline - time.monotonic()))
    end_calls()
    stopped.wait()
