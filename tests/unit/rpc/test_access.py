"""Every RPC times every role, over real mutual TLS."""

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from parties.wire import (
    dealer_pb2,
    dealer_pb2_grpc,
    mpc_pb2,
    mpc_pb2_grpc,
    peer_pb2,
    peer_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from privedge.identity.roles import Role
from privedge.rpc import access
from privedge.rpc.channel import open_channel
from privedge.rpc.server import build_server
from privedge.wire import about_pb2, about_pb2_grpc, party_pb2, party_pb2_grpc
from privedge_lab.baseline.serving import access as split_access
from privedge_lab.wire import split_pb2, split_pb2_grpc

FILES = [
    about_pb2, party_pb2, peer_pb2, mpc_pb2, dealer_pb2, split_pb2, worker_pb2, health_pb2,
    reflection_pb2,
]  # fmt: skip
METHODS = sorted(
    f"/{service.full_name}/{method.name}"
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
)
Code = grpc.StatusCode
# What the product's servers and the laboratory's allow, as one table.
ACCESS = {**access.ACCESS, **split_access.ACCESS}


def test_the_table_has_exactly_the_methods_there_are():
    assert sorted(ACCESS) == METHODS


def test_no_method_is_for_nobody():
    assert all(ACCESS.values())


@pytest.fixture(scope="module")
def address(tls_for):
    server, port = build_server("127.0.0.1:0", tls=tls_for(Role.PARTY0), access=ACCESS)
    about_pb2_grpc.add_AboutServicer_to_server(about_pb2_grpc.AboutServicer(), server)
    party_pb2_grpc.add_PartyServicer_to_server(party_pb2_grpc.PartyServicer(), server)
    peer_pb2_grpc.add_PeerServicer_to_server(peer_pb2_grpc.PeerServicer(), server)
    mpc_pb2_grpc.add_MpcServicer_to_server(mpc_pb2_grpc.MpcServicer(), server)
    dealer_pb2_grpc.add_DealerServicer_to_server(dealer_pb2_grpc.DealerServicer(), server)
    split_pb2_grpc.add_SplitServicer_to_server(split_pb2_grpc.SplitServicer(), server)
    worker_pb2_grpc.add_WorkerServicer_to_server(worker_pb2_grpc.WorkerServicer(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    reflection.enable_server_reflection(["privedge.v1.Party"], server)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize("role", list(Role))
def test_c05_a_role_gets_past_the_gate_where_the_table_says_so_and_nowhere_else(
    address, tls_for, role
):
    admitted = set()
    files = tls_for(role, None if role.serves else "somebody")
    with open_channel(address, server=Role.PARTY0, tls=files) as channel:
        for method in METHODS:
            # On the wire all four kinds of call look alike.
            call = channel.stream_stream(method)(iter([b""]), timeout=20)
            try:
                next(call, None)
                admitted.add(method)
                call.cancel()
            except grpc.RpcError as error:
                # A bare servicer behind the gate raises NotImplementedError.
                assert error.code() in (Code.PERMISSION_DENIED, Code.INTERNAL)
                if error.code() is Code.INTERNAL:
                    admitted.add(method)
    assert admitted == {method for method, roles in ACCESS.items() if role in roles}


def test_a_claim_in_the_metadata_does_not_change_a_certified_role(address, tls_for):
    with open_channel(address, server=Role.PARTY0, tls=tls_for(Role.CLIENT, "c")) as channel:
        claims = [("privedge-role", "admin"), ("privedge-name", "a")]
        call = channel.unary_unary("/privedge.v1.Party/Status")
        with pytest.raises(grpc.RpcError) as error:
            call(b"", timeout=20, metadata=claims)
    assert error.value.code() is Code.PERMISSION_DENIED
