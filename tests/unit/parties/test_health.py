"""parties/serving/health.py: checks and watches of a real server."""

import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1 import health_pb2_grpc

from parties.serving.lifecycle import add_health
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.server import build_server

KINDS = pb.HealthCheckResponse
CLAIM = Identity(Role.PARTY0, "party0")
WITHIN_S = 20


@pytest.fixture
def served():
    server, port = build_server("127.0.0.1:0", tls=None, access=ACCESS)
    statuses = add_health(server)
    server.start()
    channel = open_channel(f"127.0.0.1:{port}", server=Role.PARTY1, tls=None, claim=CLAIM)
    with channel:
        yield statuses, health_pb2_grpc.HealthStub(channel)
    server.stop(None).wait()


def asked(service: str = "") -> pb.HealthCheckRequest:
    return pb.HealthCheckRequest(service=service)


def test_a_server_is_not_serving_until_it_says_so(served):
    statuses, stub = served
    assert stub.Check(asked(), timeout=WITHIN_S).status == KINDS.NOT_SERVING
    statuses.set_serving(["", "a.B"], True)
    assert stub.Check(asked("a.B"), timeout=WITHIN_S).status == KINDS.SERVING
    listed = stub.List(pb.HealthListRequest(), timeout=WITHIN_S).statuses
    assert {name: each.status for name, each in listed.items()} == {"": 1, "a.B": 1}
    with pytest.raises(grpc.RpcError) as unknown:
        stub.Check(asked("no.Such"), timeout=WITHIN_S)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_watch_tells_each_change_once_and_ends_with_the_server(served):
    statuses, stub = served
    watch = stub.Watch(asked("a.B"), timeout=WITHIN_S)
    assert next(watch).status == KINDS.SERVICE_UNKNOWN
    statuses.set_serving(["a.B"], True)
    assert next(watch).status == KINDS.SERVING
    statuses.set_serving(["", "a.B"], True)
    statuses.end()
    assert [response.status for response in watch] == [KINDS.NOT_SERVING]
    statuses.set_serving(["a.B"], True)
    assert stub.Check(asked("a.B"), timeout=WITHIN_S).status == KINDS.NOT_SERVING


def test_a_watch_that_is_cancelled_lets_its_thread_go(served):
    statuses, stub = served
    before = threading.active_count()
    watches = [stub.Watch(asked(), timeout=WITHIN_S) for _ in range(9)]
    assert {next(watch).status for watch in watches} == {KINDS.NOT_SERVING}
    for watch in watches:
        watch.cancel()
    statuses.end()
    assert stub.Check(asked(), timeout=WITHIN_S).status == KINDS.NOT_SERVING
    assert threading.active_count() <= before + 40
