"""parties/embed.py: what it refuses before anything is served."""

import grpc
import pytest

from parties.embed import GuardedServer, serving
from privedge.errors import ConfigError
from privedge.identity.roles import Identity, Role
from privedge.rpc.access import ACCESS
from privedge.rpc.channel import open_channel
from privedge.rpc.server import build_server

METHOD = "/shop.v1.Orders/List"
PARTY = """
index = 1
listen = "127.0.0.1:0"
state = "state"
[mpc]
listen = "127.0.0.1:0"
[dealer]
address = "127.0.0.1:1"
[[cohorts]]
name = "digits"
preset = "subspace32"
"""
TLS = '[tls]\nca = "ca.crt"\ncertificate = "party1.crt"\nkey = "party1.key"\n'


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "party1.toml"
    file.write_text(PARTY + TLS)
    return file


def handlers(*methods):
    return {method: grpc.unary_unary_rpc_method_handler(lambda *_: b"") for method in methods}


def test_a_server_that_exists_already_is_refused():
    with pytest.raises(ConfigError, match="cannot be guarded"), serving(grpc.server(None)):
        pytest.fail("it served")


def test_a_party_without_tls_is_not_embedded(tmp_path):
    file = tmp_path / "party1.toml"
    file.write_text("insecure_loopback = true\n" + PARTY)
    with pytest.raises(ConfigError, match=r"only with \[tls\]"):
        GuardedServer(file, {})


@pytest.mark.parametrize(
    "access",
    [
        {"/privedge.v1.Party/Status": {Role.CLIENT}},
        {"/privedge.v1.Peer/Hello": {Role.ADMIN}},
        {"/grpc.health.v1.Health/Check": {Role.ADMIN}},
        {"Orders/List": {Role.CLIENT}},
        {"/*": {Role.CLIENT}},
        {METHOD: set()},
        {METHOD: "client"},
        {METHOD: {"client"}},
    ],
    ids=str,
)
def test_the_partys_own_table_is_fixed_and_the_operators_must_be_clear(config_file, access):
    with pytest.raises(ConfigError, match="access: ") as caught:
        GuardedServer(config_file, access)
    assert "\n" not in str(caught.value)


def test_a_method_that_nobody_may_call_is_refused_when_it_is_added(config_file):
    server = GuardedServer(config_file, {METHOD: {Role.CLIENT}})
    server.add_registered_method_handlers("shop.v1.Orders", handlers("List"))
    with pytest.raises(ConfigError, match=r"Orders/Delete: nobody may call it"):
        server.add_registered_method_handlers("shop.v1.Orders", handlers("List", "Delete"))


class CatchAll(grpc.GenericRpcHandler):
    """As a proxy has it: it handles every method there could be."""

    def service(self, handler_call_details):
        return grpc.unary_unary_rpc_method_handler(lambda *_: b"the operator's own")


@pytest.mark.parametrize(
    ("method", "role", "code"),
    [
        (METHOD, Role.CLIENT, grpc.StatusCode.OK),
        (METHOD, Role.ADMIN, grpc.StatusCode.PERMISSION_DENIED),
        ("/shop.v1.Orders/Delete", Role.CLIENT, grpc.StatusCode.UNIMPLEMENTED),
        ("/privedge.v1.Party/Status", Role.ADMIN, grpc.StatusCode.UNIMPLEMENTED),
        ("/privedge.v1.Mpc/Exchange", Role.PARTY0, grpc.StatusCode.UNIMPLEMENTED),
        ("/privedge.v1.Worker/Run", Role.PARTY0, grpc.StatusCode.UNIMPLEMENTED),
        ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Role.ADMIN,
         grpc.StatusCode.UNIMPLEMENTED),
    ],
)  # fmt: skip
def test_a_generic_handler_is_asked_for_the_operators_methods_only(config_file, method, role, code):
    own = GuardedServer(config_file, {METHOD: {Role.CLIENT}})
    own.add_generic_rpc_handlers([CatchAll()])
    server, port = build_server("127.0.0.1:0", tls=None, access={**ACCESS, **own.access})
    own.add_own_services(server)
    server.start()
    address, claim = f"127.0.0.1:{port}", Identity(role, "party0" if role.serves else "kim")
    with open_channel(address, server=Role.PARTY1, tls=None, claim=claim) as channel:
        call = channel.unary_unary(method).future(b"", timeout=20)
        assert call.code() is code
    server.stop(None).wait()


@pytest.mark.parametrize("name", ["add_insecure_port", "add_secure_port", "start", "stop"])
def test_there_is_no_way_to_open_another_port(config_file, name):
    assert not hasattr(GuardedServer(config_file, {}), name)
