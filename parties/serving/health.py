"""The standard health service (grpc.health.v1), in which no caller can hold up another one.

The service of grpcio-health-checking tells a change to all watchers under one lock: a watcher that
does not read keeps every health check from being answered.
"""

import threading
from collections.abc import Iterable, Iterator

import grpc
from grpc_health.v1 import health_pb2 as pb


class Health:
    """The health of each service of one server. Safe to call from many threads."""

    def __init__(self) -> None:
        """The server as a whole, whose name is empty, is NOT_SERVING at first."""
        self._changed = threading.Condition()
        # Values of the enumeration ServingStatus.
        self._statuses: dict[str, int] = {"": pb.HealthCheckResponse.NOT_SERVING}
        self._ending = False

    def set_serving(self, services: Iterable[str], serves: bool) -> None:
        """Set the health of each of these services. Nothing changes after `end`."""
        kinds = pb.HealthCheckResponse
        with self._changed:
            if not self._ending:
                status = kinds.SERVING if serves else kinds.NOT_SERVING
                self._statuses.update(dict.fromkeys(services, status))
                self._changed.notify_all()

    def end(self) -> None:
        """From now on all services are NOT_SERVING. Watchers are told, and their calls end."""
        with self._changed:
            self._ending = True
            self._statuses = dict.fromkeys(self._statuses, pb.HealthCheckResponse.NOT_SERVING)
            self._changed.notify_all()

    def Check(
        self, request: pb.HealthCheckRequest, context: grpc.ServicerContext
    ) -> pb.HealthCheckResponse:
        """The health of one service. NOT_FOUND if nothing was ever said of it."""
        status = self._statuses.get(request.service)
        if status is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return pb.HealthCheckResponse(status=status)

    def List(
        self, request: pb.HealthListRequest, context: grpc.ServicerContext
    ) -> pb.HealthListResponse:
        """The health of all services."""
        with self._changed:
            found = dict(self._statuses)
        return pb.HealthListResponse(
            statuses={name: pb.HealthCheckResponse(status=status) for name, status in found.items()}
        )

    def Watch(
        self, request: pb.HealthCheckRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.HealthCheckResponse]:
        """The health of one service, now and after each change, until the caller's time is up."""
        context.add_callback(self._wake)
        told = None
        while context.is_active():
            status = self._next(request.service, told, context)
            if status == told:
                return
            told = status
            yield pb.HealthCheckResponse(status=status)

    def _next(self, service: str, told: int | None, context: grpc.ServicerContext) -> int:
        """Wait until the status is not `told`, the server ends, or the caller leaves."""
        unknown: int = pb.HealthCheckResponse.SERVICE_UNKNOWN
        with self._changed:
            while self._statuses.get(service, unknown) == told and not self._ending:
                if not context.is_active():
                    break
                self._changed.wait()
            return self._statuses.get(service, unknown)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
