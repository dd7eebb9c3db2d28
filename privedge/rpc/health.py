"""Ask a server whether it serves (grpc.health.v1)."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from privedge.errors import DeadlineExceeded
from privedge.rpc.deadline import Deadline


def serves(channel: grpc.Channel, service: str, *, within_s: float) -> bool:
    """Return whether `service` is up, or comes up within that many seconds."""
    deadline = Deadline.after(within_s)
    request = health_pb2.HealthCheckRequest(service=service)
    serving = health_pb2.HealthCheckResponse.SERVING
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        request, timeout=deadline.remaining(), wait_for_ready=True
    )
    try:
        return any(response.status == serving for response in watch)
    except (grpc.RpcError, DeadlineExceeded):
        return False
    finally:
        watch.cancel()
